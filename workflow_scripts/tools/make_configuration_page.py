"""Write docs/configuration.md from the declared settings. Run it when a setting, a default or an extension changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from obtransfer.config.describe import inside, keys_of, meaning, members, needed, split
from obtransfer.config.labels import keys_of_curvature, keys_of_label, required
from obtransfer.registry import CRITERIA
from obtransfer.settings import Configuration

PAGE = ROOT / "docs" / "configuration.md"
INTRODUCTION = """\
# Every setting

`python workflow_scripts/tools/make_configuration_page.py` generates this page from `workflow_scripts/obtransfer/settings.py` and
from the files of criteria, estimators and structures. `config.yaml` is the default grid. Files given by `--configfile` and values
given by `--config` are merged on top of it. Everything is checked before a job starts, and all errors are reported together.

- Numbers may be written as text: `1e-3`, which YAML reads as text, is 0.001. So `--config 'grid={"sparsities": [0.7]}'` works.
- Whole numbers are written in plain digits. YAML reads `010` as 8 and `1:30` as 90; both are refused.
- Names that YAML reads as something else must be in quotes: `'00014'`, `'yes'`, `'2024-01-02'`.
- `~` at the beginning of a path is your home folder. Nothing else in a path is expanded or decoded.
- Names of tasks, data sets, suites and labels consist of lower-case letters, digits and `_`. They start with a letter and have at
  most 100 characters.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for section in fields(Configuration):
        annotation = keys_of(Configuration)[section.name]
        if section.name == "criteria":
            parts.append(_criteria(annotation))
            continue
        if section.name == "curvature":
            annotation = keys_of_curvature()
        rows = list(_rows(section.name, annotation, _default(section)))
        alone = [row[0] for row in rows] == [section.name]
        said = "" if alone else f"{_sentence(meaning(annotation))}\n\n"
        parts.append(f"## `{section.name}`\n\n{said}{_table(rows)}")
    return "\n".join(parts)


def _criteria(annotation: Any) -> str:
    common = list(_rows("", keys_of_label("magnitude"), ""))
    parts = [
        f"## `criteria`\n\n{_sentence(meaning(annotation))}\n",
        f"Every label has these keys:\n\n{_table(common)}",
    ]
    for name, criterion in CRITERIA.items():
        reads = (
            "no statistic" if criterion.needs == "none" else f"curvature in the structure `{criterion.needs}`"
        )
        if criterion.estimator:
            reads = f"the statistic `{criterion.estimator}.{criterion.needs}`"
        rows = [row for row in _rows("", keys_of_label(name), "") if row not in common]
        bare = "" if required(name) else " It needs no entry here: `grid.criteria` may name it."
        table = f"\n\n{_table(rows)}" if rows else "\n"
        parts.append(f"`criterion: {name}` ({criterion.title}) reads {reads}.{bare}{table}")
    return "\n".join(parts)


Row = tuple[str, str, str, str]


def _rows(path: str, annotation: Any, default: str) -> Iterator[Row]:
    """Key, value, default and meaning; of the keys inside where there are some."""
    inner = [core for member in members(annotation) if is_dataclass(core := split(member)[0])]
    core = split(annotation)[0]
    if get_origin(core) is Mapping and is_dataclass(split(get_args(core)[1])[0]):
        yield from _rows(f"{path}.NAME", get_args(core)[1], "")
    elif not inner or len(members(annotation)) > 1:
        yield path, _value(annotation), default, meaning(annotation)
    for core in inner:
        for key in fields(core):
            yield from _rows(f"{path}.{key.name}".removeprefix("."), keys_of(core)[key.name], _default(key))  # type: ignore[arg-type]


def _value(annotation: Any) -> str:
    entry = inside(annotation, 0)
    words = "" if entry in (Any, str) else needed(entry)
    return needed(annotation) + (f"; each: {words}" if words not in ("", "text", "a number") else "")


def _default(key: Field[Any]) -> str:
    if key.default is MISSING:
        return "required" if key.default_factory is MISSING else ""
    if key.default is None:
        return ""
    return f"`{_yaml(key.default)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(rows: list[Row]) -> str:
    lines = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    lines += [f"| `{key}` | {value} | {default} | {said} |" for key, value, default, said in rows]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
