"""Turn a registry's string into the object it names."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def resolve(name: str) -> Any:
    """Import ``"package.module:attribute"`` and return the attribute."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
