"""From a raw configuration to a checked `Configuration`. Building the DAG imports this; steps do not need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path as FilePath
from pathlib import PurePath
from typing import Any

from obtransfer.config import check, labels
from obtransfer.config.describe import Path, expected, keys_of, shown, unknown, unknown_key, written
from obtransfer.config.entry import Plain, Problems, expand_user, misread
from obtransfer.config.validate import INVALID, read
from obtransfer.errors import ObtransferError
from obtransfer.registry import CRITERIA
from obtransfer.settings import Configuration, Label, Name


def load_configuration(config: Mapping[str, Any], files: Iterable[str | FilePath] = ()) -> Configuration:
    """`obtransfer.config.load`."""
    plain = Plain(config)
    problems = [*plain.problems, *misread(plain.value, files)]
    unreadable = {path for path, _ in problems}
    sections: dict[str, Any] = {}
    if isinstance(plain.value, dict):
        expand_user(plain.value)
        found: Problems = []
        sections = _sections(plain.value, found)
        found += check.problems(plain.value, sections)
        problems += [
            (path, text) for path, text in found if not any(_is_part(path, other) for other in unreadable)
        ]
    else:
        problems.append(((), f"got {shown(config)}; needed a mapping"))
    if problems:
        lines = dict.fromkeys(f"{written(path)}: {message}" for path, message in problems)
        count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
        raise ObtransferError("\n  ".join([f"the configuration has {count}:", *lines]))
    return Configuration(**sections)


def _is_part(path: Path, other: Path) -> bool:
    """Whether one place is in the other."""
    return path[: len(other)] == other[: len(path)]


def _sections(config: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """Every valid section, complete, and the valid keys of others; what is wrong joins `problems`."""
    found = {section.name: _section(section, config, problems) for section in fields(Configuration)}
    unknown_keys = [name for name in config if name not in found]
    problems += [((name,), unknown_key(name, found)) for name in unknown_keys]
    return {name: value for name, value in found.items() if value is not INVALID}


def _section(section: Field[Any], config: Mapping[str, Any], problems: Problems) -> Any:
    name, annotation = section.name, keys_of(Configuration)[section.name]
    if name == "criteria":
        return _labels(config.get(name, {}), problems)
    if name == "curvature":
        found = read(labels.keys_of_curvature(), config.get(name, {}), (name,), problems)
        return found if found is INVALID else labels.curvature_of(found)
    if name in config:
        found = read(annotation, config[name], (name,), problems)
        if found is INVALID:
            return _valid_keys(annotation, config[name])
        return str(PurePath(found)) if name == "results" else found
    if section.default_factory is not MISSING:
        return section.default_factory()
    if section.default is MISSING:
        problems.append(((name,), f"missing; needed {expected(annotation)}"))
    return INVALID if section.default is MISSING else section.default


def _valid_keys(annotation: Any, value: Any) -> Any:
    """What is valid of an invalid section, so that the checks of its other keys report their errors as well."""
    if not (isinstance(annotation, type) and is_dataclass(annotation) and isinstance(value, dict)):
        return INVALID
    keys = keys_of(annotation).items()
    found = {key: read(declared, value[key], (), []) for key, declared in keys if key in value}
    defaults = {key.name: key.default for key in fields(annotation) if key.default is not MISSING}
    return check.Valid({key: entry for key, entry in {**defaults, **found}.items() if entry is not INVALID})


def _labels(entries: Any, problems: Problems) -> dict[str, Label]:
    """The valid labels: those of the configuration, and every criterion that needs no settings."""
    if not isinstance(entries, dict):
        problems.append(
            (("criteria",), f"got {shown(entries)}; needed {expected(keys_of(Configuration)['criteria'])}")
        )
        entries = {}
    read(Mapping[Name, Any], dict.fromkeys(entries), ("criteria",), problems)
    found = {name: _label(name, entry, problems) for name, entry in entries.items()}
    found |= {criterion: labels.bare_label(criterion) for criterion in CRITERIA if criterion not in entries}
    return {name: label for name, label in found.items() if label is not None}


def _label(name: str, entry: Any, problems: Problems) -> Label | None:
    path: Path = ("criteria", name)
    criterion = _criterion(path, entry, problems)
    if criterion is None:
        return None
    keys = labels.keys_of_label(criterion)
    others = [key for key in entry if key not in keys_of(keys)]
    for key in others:
        known = any(key in keys_of(labels.keys_of_label(other)) for other in CRITERIA)
        message = f"{criterion} does not read it; remove it" if known else unknown_key(key, keys_of(keys))
        problems.append(((*path, key), message))
    own = {key: value for key, value in entry.items() if key not in others}
    found = read(keys, own, path, problems)
    return None if found is INVALID else labels.label_of(found, criterion)


def _criterion(path: Path, entry: Any, problems: Problems) -> str | None:
    """The name of a label's criterion, if it exists."""
    if not isinstance(entry, dict):
        problems.append((path, f"got {shown(entry)}; needed {expected(Label)}"))
        return None
    name, path = entry.get("criterion"), (*path, "criterion")
    if isinstance(name, str) and name in CRITERIA:
        return name
    if isinstance(name, str):
        problems.append((path, unknown(name, CRITERIA, "criterion")))
    else:
        got = "missing" if "criterion" not in entry else f"got {shown(name)}"
        problems.append((path, f"{got}; needed {expected(keys_of(Label)['criterion'])}"))
    return None
