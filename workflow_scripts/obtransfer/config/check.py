"""What types and bounds cannot check: names exist, and keys agree with each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from obtransfer.config import (
    check_backbones,
    check_criteria,
    check_export,
    check_grid,
    check_labels,
    check_tasks,
)
from obtransfer.config.describe import Path, shown
from obtransfer.config.entry import Found, Problems, Raw
from obtransfer.settings import Configuration

_LONGEST_RESULTS, _LONGEST_PART = 1000, 255


class _Invalid(Exception):
    """A value that a check reads is invalid."""


class Valid:
    """The valid sections, or the valid keys of a section, as attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        vars(self).update(values)

    def __getattr__(self, name: str) -> Any:
        raise _Invalid(name)


def problems(raw: Raw, sections: Mapping[str, Any]) -> Problems:
    """Everything that is wrong with the valid values.

    A check reads the values that it needs. Where one of them is invalid, the check ends.

    Args:
        raw: the configuration as written.
        sections: section to its checked value. An invalid one is missing, or has its valid keys only (`Valid`).
    """
    config = cast(Configuration, Valid(sections))
    found: Problems = []
    for check in _CHECKS:
        try:
            found += check(raw, config)
        except _Invalid:
            continue
    return found


def _duplicates(raw: Raw, config: Configuration) -> Found:
    """Lists name nothing twice; 0.5 and 0.50 are the same. Colours may have equal numbers."""
    for path, values in _lists(raw, ()):
        first: dict[str, int] = {}
        for index, value in enumerate(values if path[0] != "backbones" else []):
            earlier = first.setdefault(json.dumps(value), index)
            if earlier < index:
                yield (*path, index), f"{shown(value)} is in this list already, at [{earlier}]; remove one"


def _lists(value: Any, path: Path) -> Iterator[tuple[Path, list[Any]]]:
    """Every list in a configuration, with its path."""
    if isinstance(value, list):
        yield path, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _lists(item, (*path, key))


def _results(raw: Raw, config: Configuration) -> Found:
    """The folder of results fits into Snakemake's patterns and a file system's paths."""
    folder = config.results
    if "{" in folder or "}" in folder:
        yield (
            ("results",),
            f"got {shown(folder)}; needed a path without braces, Snakemake's sign of wildcards",
        )
    whole, part = len(folder.encode()), max(len(name.encode()) for name in folder.split("/"))
    if whole > _LONGEST_RESULTS or part > _LONGEST_PART:
        most = f"needed at most {_LONGEST_RESULTS} bytes, {_LONGEST_PART} in each name"
        yield ("results",), f"got a path of {whole} bytes, {part} in its longest name; {most}"


def _milestones(raw: Raw, config: Configuration) -> Found:
    """A multistep schedule has steps, in order."""
    path, milestones = ("finetune", "milestones"), list(config.finetune.milestones)
    if config.finetune.schedule == "multistep" and not milestones:
        yield path, "got none; needed at least one, since finetune.schedule is multistep"
    if milestones != sorted(milestones):
        yield path, f"got {shown(milestones)}; needed growing epochs"


_CHECKS: tuple[Callable[[Raw, Configuration], Found], ...] = (
    _duplicates,
    _results,
    check_grid.names,
    check_grid.lengths,
    check_grid.sources,
    check_grid.attention,
    check_criteria.computable,
    check_grid.groups_of_m,
    check_grid.finetuned,
    check_labels.undefined,
    check_labels.labels,
    check_labels.chosen_damping,
    check_backbones.known,
    check_backbones.own,
    check_tasks.data_sets,
    check_tasks.tasks,
    check_tasks.calibration,
    check_export.export,
    _milestones,
)
