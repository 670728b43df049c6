"""Checking values against declared types: pydantic finds what is wrong, the messages are for readers of YAML."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from obtransfer.config.describe import (
    Path,
    did_you_mean,
    expected,
    inside,
    keys_of,
    meaning,
    members,
    shown,
    split,
    unknown_key,
)
from obtransfer.config.entry import Problems, number

INVALID: Any = object()
"""What `read` returns for a wrong value."""

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_MISSING, _UNKNOWN, _KEY = "missing", "unexpected_keyword_argument", "[key]"


def read(annotation: Any, value: Any, path: Path, problems: Problems) -> Any:
    """The value with its declared type and all defaults, or INVALID.

    Args:
        annotation: the declared type. A mapping becomes a dataclass where that is declared, a list a tuple.
        value: plain. Text that is a number is replaced in place where a number is declared.
        path: of the value in the configuration.
        problems: what is wrong joins it.
    """
    box = [value]
    wrong: dict[Path, str] = {}
    for _ in range(2):
        try:
            return _adapter(annotation).validate_json(json.dumps(box))[0]
        except ValidationError as error:
            wrong = _located(box, error)
        if not _replace_text(annotation, box, wrong):
            break
    problems += [
        ((*path, *place[1:]), _message(annotation, box, place, kind)) for place, kind in wrong.items()
    ]
    return INVALID


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(tuple[annotation], config=_STRICT)


def _located(box: list[Any], error: ValidationError) -> dict[Path, str]:
    """Place to kind of pydantic's errors. Of a union's errors those remain that look deepest into the value."""
    found: dict[Path, str] = {}
    for detail in error.errors(include_url=False, include_context=False):
        place, kind = _place(box, detail["loc"], detail["type"])
        found.setdefault(place, kind)
    return {
        place: kind
        for place, kind in found.items()
        if not any(other[: len(place)] == place and other != place for other in found)
    }


def _place(box: list[Any], location: tuple[str | int, ...], kind: str) -> tuple[Path, str]:
    """The keys and indices in pydantic's location, which also names the members of unions."""
    current: Any = box
    place: Path = ()
    for step in location:
        if step in current if isinstance(current, dict) else _is_index(current, step):
            current, place = current[step], (*place, step)
        elif kind == _MISSING and step == location[-1] and isinstance(current, dict):
            return (*place, step), kind
    if kind == _MISSING:  # an entry of a list of fixed length
        return place, "too_short"
    return place, _KEY if location[-1] == _KEY else kind


def _is_index(value: Any, step: str | int) -> bool:
    return isinstance(value, list) and step in range(len(value))


def _replace_text(annotation: Any, box: list[Any], wrong: dict[Path, str]) -> bool:
    """Put numbers in place of texts where the declared type is a number; whether there were any."""
    replaced = False
    for place, error in wrong.items():
        holder: Any = box
        for key in place[:-1]:
            holder = holder[key]
        text = holder[place[-1]] if error not in (_MISSING, _UNKNOWN, _KEY) else None
        found = number(text) if isinstance(text, str) else None
        kinds = {split(member)[0] for member in members(_declared(annotation, place))}
        if found is not None and kinds & ({bool} if isinstance(found, bool) else {int, float}):
            holder[place[-1]], replaced = found, True
    return replaced


def _declared(annotation: Any, place: Path) -> Any:
    for key in place[1:]:
        annotation = inside(annotation, key)
    return annotation


def _message(annotation: Any, box: list[Any], place: Path, kind: str) -> str:
    declared = _declared(annotation, place)
    if kind == _MISSING:
        return f"missing; needed {expected(declared)}"
    if kind == _UNKNOWN:
        holder = next(
            core
            for member in members(_declared(annotation, place[:-1]))
            if isinstance(core := split(member)[0], type)
        )
        return unknown_key(str(place[-1]), keys_of(holder))
    if kind == _KEY:
        parent = _declared(annotation, place[:-1])
        return f"got the name {str(place[-1])!r}; needed {meaning(get_args(split(parent)[0])[0])}"
    value: Any = box
    for key in place:
        value = value[key]
    return f"got {shown(value)}; needed {expected(declared)}{_hint(declared, value)}"


def _hint(declared: Any, value: Any) -> str:
    """What may have been meant."""
    cores = [split(member)[0] for member in members(declared)]
    words = [word for core in cores if get_origin(core) is Literal for word in get_args(core)]
    if isinstance(value, str) and words and (near := did_you_mean(value, words)):
        return f"; {near.rstrip()}"
    if (str in cores or words) and isinstance(value, bool):
        return "; YAML reads yes, no, on and off as true or false: use quotes"
    if str in cores and isinstance(value, (int, float)):
        return "; YAML reads this as a number: use quotes"
    return ""
