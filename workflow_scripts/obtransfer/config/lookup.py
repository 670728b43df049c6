"""Looking into a configuration that may be wrong anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from obtransfer.config.schema import did_you_mean


def unknown(path: str, name: str, known: Iterable[str], what: str) -> Iterator[str]:
    """Tell a name that is not known, with those that are."""
    if name not in known:
        yield f"{path}: unknown {what} {name!r}; {did_you_mean(name, known)}there are: {', '.join(known) or 'none'}"


def mapping(config: Mapping[str, Any], *keys: Any) -> Mapping[Any, Any]:
    """The mapping below `keys`; empty where there is none, which the schema tells."""
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def entries(config: Mapping[str, Any], *keys: Any) -> list[tuple[str, str]]:
    """Path and text of every entry of the list below `keys` that is text."""
    values = mapping(config, *keys[:-1]).get(keys[-1])
    path = ".".join(map(str, keys))
    listed = values if isinstance(values, list) else []
    return [(f"{path}[{index}]", value) for index, value in enumerate(listed) if isinstance(value, str)]
