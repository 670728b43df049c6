"""Everything about config.yaml: settings with their defaults, how a configuration is read, what is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obtransfer.settings import Configuration


def load(config: Mapping[str, Any], files: Iterable[str | Path] = ()) -> Configuration:
    """Check a configuration and complete it.

    Args:
        config: the content of config.yaml with what overrides it; not changed.
        files: the configuration's files. Their text shows which numbers were written as `010`, which YAML reads as 8;
            without it, numbers are taken as they are.

    Returns:
        Every setting with its type. Defaults are filled in, `~` in paths is expanded, and `criteria` holds every label.

    Raises:
        ObtransferError: all errors together, one line each: the key's path, what was got, what is needed.
    """
    from obtransfer.config.loading import load_configuration  # imports pydantic, which steps do without

    return load_configuration(config, files)
