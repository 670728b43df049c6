"""The part of JSON schema that workflow_scripts/obtransfer/config/schema.yaml uses, with messages for people.

Every cluster job parses the Snakefile again, and importing jsonschema takes a third of a second. The tests
compare this module with jsonschema, and refuse a schema with a word that is not known here.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA_PATH = Path(__file__).with_name("schema.yaml")

_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "object": ("a mapping", lambda value: isinstance(value, Mapping)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "string": ("text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "number": (
        "a finite number",
        lambda value: (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        ),
    ),
}
_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", lambda value, limit: value >= limit),
    "exclusiveMinimum": ("more than", lambda value, limit: value > limit),
    "maximum": ("at most", lambda value, limit: value <= limit),
    "exclusiveMaximum": ("less than", lambda value, limit: value < limit),
}
ANNOTATIONS = frozenset({"$schema", "title", "description"})
KEYWORDS = frozenset(_LIMITS) | {
    "type", "enum", "pattern", "minLength", "items", "minItems", "properties", "required",
    "additionalProperties", "propertyNames", "minProperties",
}  # fmt: skip


@cache
def read_schema() -> dict[str, Any]:
    """The schema of config.yaml."""
    import yaml

    schema: dict[str, Any] = yaml.safe_load(SCHEMA_PATH.read_text(encoding="utf-8"))
    return schema


def problems(value: Any, schema: Mapping[str, Any], path: str = "") -> list[str]:
    """One line for everything in `value` that `schema` does not allow: where, what was got, what was needed.

    Unlike in JSON, 1.0 is no whole number, and NaN and infinity are no numbers.
    """
    where = path or "the configuration"
    kinds = _kinds(schema)
    if kinds and not any(_TYPES[kind][1](value) for kind in kinds):
        return [f"{where}: got {shown(value)}; needed {_expected(schema)}{_yaml_hint(value, kinds[0])}"]
    found = [f"{where}: got {shown(value)}; needed {needed}" for needed in _unmet(value, schema)]
    if isinstance(value, Mapping):
        found += _mapping_problems(value, schema, path)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += problems(item, schema["items"], f"{path}[{index}]")
    return found


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """``did you mean 'x'? `` for the nearest known word, or nothing if none is near."""
    near = difflib.get_close_matches(str(word).lower(), list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def shown(value: Any) -> str:
    """A value as the reader of a YAML file knows it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, value))}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"the list {value}" if value else "an empty list"
    return f"the text {value!r}" if isinstance(value, str) else str(value)


def _unmet(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What a value of the right type still lacks, in words."""
    meaning = _meaning(schema)
    limits = [
        f"{_TYPES[_kinds(schema)[0]][0]}, {words} {schema[keyword]}{meaning}"
        for keyword, (words, holds) in _LIMITS.items()
        if keyword in schema and not isinstance(value, str) and not holds(value, schema[keyword])
    ]
    if "enum" in schema and value not in schema["enum"]:
        limits.append(
            f"one of {', '.join(schema['enum'])}{meaning}; {did_you_mean(value, schema['enum'])}".rstrip("; ")
        )
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        limits.append("small letters, digits and _, beginning with a letter")
    if len(value) < _least(schema) if isinstance(value, (str, list, Mapping)) else False:
        limits.append(f"at least {_least(schema)}{meaning}")
    return limits


def _least(schema: Mapping[str, Any]) -> int:
    return max(
        (schema[keyword] for keyword in ("minLength", "minItems", "minProperties") if keyword in schema),
        default=0,
    )


def _mapping_problems(value: Mapping[Any, Any], schema: Mapping[str, Any], path: str) -> list[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    found = [
        f"{_join(path, name)}: missing; needed {_expected(properties[name])}"
        for name in schema.get("required", [])
        if name not in value
    ]
    for name, item in value.items():
        here = _join(path, name)
        if not isinstance(name, str):
            found.append(f"{here}: the key {shown(name)} is not text; write it in quotes")
        elif name in properties:
            found += problems(item, properties[name], here)
        elif others is False:
            known = ", ".join(properties)
            found.append(f"{here}: unknown key; {did_you_mean(name, properties)}known here: {known}")
        else:
            names = _unmet(name, schema.get("propertyNames", {}))
            found += [f"{here}: got the name {name!r}; needed {needed}" for needed in names]
            found += problems(item, others, here) if isinstance(others, Mapping) else []
    return found


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """The types a value may have."""
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _expected(schema: Mapping[str, Any]) -> str:
    return " or ".join(_TYPES[kind][0] for kind in _kinds(schema)) + _meaning(schema)


def _meaning(schema: Mapping[str, Any]) -> str:
    return f" ({schema['description']})" if "description" in schema else ""


def _yaml_hint(value: Any, kind: str) -> str:
    """Why something that looks right is of another type."""
    if kind in ("integer", "number") and isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return "; YAML reads this as text: write it without quotes, and with a point and a sign as in 1.0e-4"
    return (
        "; YAML reads yes, no, on and off as true or false: use quotes"
        if isinstance(value, bool) and kind == "string"
        else ""
    )


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)
