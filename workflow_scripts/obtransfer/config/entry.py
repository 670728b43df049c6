"""The raw configuration: surprises of YAML and Snakemake are handled here, once, for all keys.

The result is plain: mappings with text as keys, lists, text, true, false, nothing, finite numbers of at most 64 bits.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from obtransfer.config.describe import Path, shorten, shown
from obtransfer.errors import ObtransferError

Problems = list[tuple[Path, str]]
"""Where the configuration is wrong, and what is wrong there."""
Found = Iterator[tuple[Path, str]]
"""The problems that one check finds."""
Raw = Mapping[str, Any]
"""A configuration as written."""

PATHS: tuple[Path, ...] = (
    ("results",),
    ("weights", "mirror"),
    ("weights", "lock"),
    ("datasets", "*", "root"),
    ("backbones", "*", "address"),
)
"""Keys that hold a path or may hold one; * is any name."""

_DEEPEST, _MOST_VALUES = 20, 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Plain:
    """A configuration made plain. `value`: a copy of it; `problems`: what had to be left out of the copy."""

    def __init__(self, config: Any) -> None:
        self.problems: Problems = []
        self._count = 0
        self.value = self._copy(config, ())

    def _copy(self, value: Any, path: Path) -> Any:
        self._count += 1
        if len(path) > _DEEPEST or self._count > _MOST_VALUES:
            raise ObtransferError(
                f"the configuration has 1 error:\n  needed at most {_MOST_VALUES} values, nested at most {_DEEPEST} deep; "
                "got more; look for anchors (&) that contain themselves"
            )
        if isinstance(value, Mapping):
            return {
                key: self._copy(item, (*path, key)) for key, item in value.items() if self._is_text(key, path)
            }
        if isinstance(value, (list, tuple)):
            return [self._copy(item, (*path, index)) for index, item in enumerate(value)]
        problem = _problem(value)
        if problem:
            self.problems.append((path, problem))
        return None if problem else value

    def _is_text(self, key: Any, path: Path) -> bool:
        problem = "" if isinstance(key, str) else f"the key {shown(key)} is not text; write it in quotes"
        if problem or (problem := _problem(key)):
            self.problems.append(((*path, key if isinstance(key, str) else shown(key)), problem))
        return not problem


def _problem(value: Any) -> str:
    """Why a single value is not plain; empty if it is."""
    if isinstance(value, str):
        if _CONTROL.search(value):
            return f"got {shown(value)}; needed text without line breaks and control characters"
    elif isinstance(value, int):
        if value.bit_length() > 63:
            return f"got {shown(value)}; needed a number below 2**63"
    elif isinstance(value, float):
        if not math.isfinite(value):
            return f"got {value}; needed a finite number"
    elif value is not None:
        return f"got {shown(value)}; needed text: write it in quotes"
    return ""


def number(text: str) -> int | float | bool | None:
    """The number, true or false that a text is; None if it is none.

    YAML 1.1 leaves `1e-3` as text, and Snakemake leaves every value inside ``--config 'grid={...}'`` as text.
    """
    if _WHOLE.fullmatch(text) and len(text) < 19:
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return {"true": True, "false": False}.get(text.lower())


def expand_user(config: dict[str, Any]) -> None:
    """Replace `~` at the beginning of every path by the home folder. Nothing else in a path is decoded."""
    for *parents, last in PATHS:
        holders: list[Any] = [config]
        for key in parents:
            inner = [holder for holder in holders if isinstance(holder, dict)]
            holders = [value for holder in inner for name, value in holder.items() if key in ("*", name)]
        for holder in holders:
            if isinstance(holder, dict) and isinstance(holder.get(last), str):
                holder[last] = os.path.expanduser(holder[last])


def misread(config: Any, files: Iterable[str | FilePath]) -> Problems:
    """Numbers that were written in a way that YAML 1.1 reads as another number than people do, or that may be names.

    `010` is 8, `1:30` is 90, and `00014`, `1_000` and `0x1F` may be names of classes. The text is needed to see that.
    """
    problems: Problems = []
    for file in files:
        _compare(config, _texts(FilePath(file)), (), problems)
    return problems


def _compare(value: Any, text: Any, path: Path, problems: Problems) -> None:
    if isinstance(value, dict) and isinstance(text, Mapping):
        for key in value.keys() & text.keys():
            _compare(value[key], text[key], (*path, key), problems)
    elif isinstance(value, list) and isinstance(text, list) and len(value) == len(text):
        for index, (item, item_text) in enumerate(zip(value, text, strict=True)):
            _compare(item, item_text, (*path, index), problems)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and isinstance(text, str):
        plain = text == str(value) if isinstance(value, int) else _NUMBER.fullmatch(text)
        if not plain and _read(text) == value:
            read = f"got {shorten(text)}, which YAML reads as the number {value}"
            problems.append(
                (path, f"{read}; write '{shorten(text)}' in quotes for a name, or a number in plain digits")
            )


def _texts(file: FilePath) -> Any:
    """A file's content with every value as it is written; empty where the file is a template or can't be read."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012

    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {} if not isinstance(content, dict) or "__use_yte__" in content else content


def _read(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return None
