"""Words for types and values: what a setting must be, and what was got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import DocInfo, Ge, Gt, Le, Len, Lt

from obtransfer.errors import did_you_mean

Path = tuple[str | int, ...]
"""Keys and indices that lead to a value of the configuration."""

_BASIC = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Any: "anything"}
_BOUNDS = ((Gt, "gt", "above"), (Ge, "ge", "at least"), (Lt, "lt", "below"), (Le, "le", "at most"))
_LONGEST = 60
_MOST_LISTED = 15


def written(path: Path) -> str:
    """A path as messages name it: ``grid.sparsities[1]``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{shorten(key)}" for key in path)
    return text.removeprefix(".") or "the configuration"


def shorten(text: str, longest: int = _LONGEST) -> str:
    """The text in printable characters, cut if it is long."""
    printable = text if text.isprintable() else repr(text)[1:-1]
    return printable if len(printable) <= longest else f"{printable[: longest - 1]}…"


def shown(value: Any) -> str:
    """A value as the reader of a YAML file knows it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"a mapping with {shorten(', '.join(map(str, value)))}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"the list {shorten(str(value))}" if value else "an empty list"
    if isinstance(value, int) and value.bit_length() > 63:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, date):
        return f"the date {value}"
    return f"the text '{shorten(value)}'" if isinstance(value, str) else f"a {type(value).__name__}"


def listed(names: Iterable[Any]) -> str:
    """Names in one line; long lists are cut."""
    every = [str(name) for name in names]
    more = f" and {len(every) - _MOST_LISTED} more" if len(every) > _MOST_LISTED else ""
    return ", ".join(every[:_MOST_LISTED]) + more or "none"


def unknown(name: str, known: Iterable[str], what: str) -> str:
    """A name that does not exist, with those that do."""
    names = list(dict.fromkeys(known))
    return f"unknown {what} {shorten(name)!r}; {did_you_mean(name, names)}there are: {listed(names)}"


def unknown_key(name: str, known: Iterable[str]) -> str:
    """A key that does not exist, with those that do."""
    names = list(known)
    return f"unknown key; {did_you_mean(name, names)}known here: {', '.join(names)}"


def split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its annotations, and these."""
    if get_origin(annotation) is Annotated:
        core, *notes = get_args(annotation)
        return core, tuple(notes)
    return annotation, ()


def members(annotation: Any) -> list[Any]:
    """The types that a value may have, without None."""
    core, _ = split(annotation)
    if get_origin(core) in (Union, UnionType):
        return [inner for member in get_args(core) if member is not NoneType for inner in members(member)]
    return [] if core is NoneType else [annotation]


@cache
def keys_of(settings: type) -> dict[str, Any]:
    """Name to annotation of the keys of a dataclass."""
    hints = get_type_hints(settings, include_extras=True)
    return {field.name: hints[field.name] for field in fields(settings)}


def inside(annotation: Any, key: str | int) -> Any:
    """The annotation of the value at `key` below a value with this annotation; Any where none is declared."""
    for member in members(annotation):
        core, _ = split(member)
        if is_dataclass(core) and isinstance(key, str) and key in keys_of(core):  # type: ignore[arg-type]
            return keys_of(core)[key]  # type: ignore[arg-type]
        if get_origin(core) is tuple and isinstance(key, int):
            return get_args(core)[0]
        if get_origin(core) is Mapping and isinstance(key, str):
            return get_args(core)[1]
    return Any


def needed(annotation: Any) -> str:
    """What a value must be: ``a number, above 0 and below 1``."""
    found = dict.fromkeys(_needed_one(member) for member in members(annotation))
    return (", or " if any("," in text for text in found) else " or ").join(found)


def meaning(annotation: Any) -> str:
    """What a setting means; empty where nothing says so."""
    core, notes = split(annotation)
    said = [note.documentation for note in notes if isinstance(note, DocInfo)]
    if said:
        return said[-1]
    if is_dataclass(core):
        line = (core.__doc__ or "").partition("\n")[0].rstrip(".")
        return line if line[1:2].isupper() else line[:1].lower() + line[1:]
    inner = get_args(core) if get_origin(core) in (Union, UnionType) else ()
    return next((found for member in inner if (found := meaning(member))), "")


def expected(annotation: Any) -> str:
    """What a value must be and what it means."""
    said = meaning(annotation)
    return needed(annotation) + (f" ({said})" if said else "")


def _needed_one(annotation: Any) -> str:
    core, notes = split(annotation)
    kind = get_origin(core) or core
    if kind is Literal:
        words = [str(word) for word in get_args(core)]
        text = f"one of {', '.join(words)}" if len(words) > 1 else repr(words[0])
    elif kind is tuple and Ellipsis not in get_args(core):
        entries = get_args(core)
        text = f"a list of {len(entries)} {'texts' if entries[0] is str else 'numbers'}"
    elif kind is tuple:
        text = "a list"
    else:
        text = _BASIC.get(kind, "a mapping")
    least = next((note.min_length for note in notes if isinstance(note, Len)), 0)
    if least:
        text += " that is not empty" if least == 1 else f" of at least {least} entries"
    bounds = [
        f"{words} {getattr(note, sign)}"
        for note in notes
        for bound, sign, words in _BOUNDS
        if isinstance(note, bound)
    ]
    return ", ".join([text, " and ".join(bounds)]) if bounds else text
