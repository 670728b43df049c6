"""What types and bounds cannot say of a configuration: names exist, and keys agree with each other.

A check reads the sections of the configuration that it needs. Where one of them is invalid, the check ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

from obtransfer.config import check_backbones, check_export, check_tasks, labels
from obtransfer.config.describe import Path, listed, shown, unknown
from obtransfer.config.entry import Problems
from obtransfer.config.settings import Configuration
from obtransfer.config.tasks import known_tasks
from obtransfer.registry import ALLOCATIONS, CRITERIA

Found = Iterator[tuple[Path, str]]

DENSE = "dense"
LONGEST_NAME = 100
"""Characters of a name in paths. Names of files are made of a few, and may have 255 bytes."""
_LONGEST_RESULTS = 1000


class _Invalid(Exception):
    """A section that a check reads is invalid."""


class _Valid:
    """The valid sections, as attributes."""

    def __init__(self, sections: Mapping[str, Any]) -> None:
        vars(self).update(sections)

    def __getattr__(self, name: str) -> Any:
        raise _Invalid(name)


def problems(raw: Mapping[str, Any], sections: Mapping[str, Any]) -> Problems:
    """Everything that is wrong with the valid sections.

    Args:
        raw: the configuration as written.
        sections: section to its checked value; invalid ones are missing.
    """
    found: Problems = []
    config = cast(Configuration, _Valid(sections))
    for one in (_duplicates, _undefined_labels, _labels, check_export.export):
        found += _until_invalid(one(raw, config))
    for check in _CHECKS:
        found += _until_invalid(check(config))
    return found


def _until_invalid(found: Found) -> Found:
    try:
        yield from found
    except _Invalid:
        return


def _duplicates(raw: Mapping[str, Any], config: Configuration) -> Found:
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


def _undefined_labels(raw: Mapping[str, Any], config: Configuration) -> Found:
    """Labels of the grid are defined, or are criteria without required settings."""
    configured = raw.get("criteria", {})
    for index, label in enumerate(config.grid.criteria):
        path = ("grid", "criteria", index)
        if label in config.criteria or label in configured:
            continue
        if label in CRITERIA:
            keys = ", ".join(labels.required(label))
            yield path, f"{label!r} needs settings ({keys}); define it under criteria"
        else:
            yield path, unknown(label, [*configured, *CRITERIA], "criterion or label")


def _labels(raw: Mapping[str, Any], config: Configuration) -> Found:
    """Labels do not mislead, and settings of rounds are read."""
    for name, label in config.criteria.items():
        path = ("criteria", name)
        if name == DENSE:
            yield path, f"the label {name!r} is reserved for the model that is not pruned; choose another"
        if name in CRITERIA and name != label.criterion:
            yield (
                path,
                f"the label {name!r} is a criterion, but its settings say {label.criterion!r}; rename the label",
            )
        if label.rounds > 1 and label.update:
            yield (*path, "update"), "the update is for masks made in one round; remove it or rounds"
        if label.rounds == 1 and "schedule" in raw.get("criteria", {}).get(name, {}):
            yield (
                (*path, "schedule"),
                "the schedule is read with rounds of 2 or more; remove it or add rounds",
            )


def _names(config: Configuration) -> Found:
    """Tasks and allocations exist."""
    tasks = known_tasks(config)
    for index, name in enumerate(config.grid.sources):
        if name not in tasks:
            yield ("grid", "sources", index), unknown(name, tasks, "task")
    for suite, names in config.suites.items():
        for index, name in enumerate(names):
            if name not in tasks:
                yield ("suites", suite, index), unknown(name, tasks, "task")


def _allocations(config: Configuration) -> Found:
    for index, name in enumerate(config.grid.allocations):
        if name not in ALLOCATIONS:
            yield ("grid", "allocations", index), unknown(name, ALLOCATIONS, "allocation")


def _sources(config: Configuration) -> Found:
    """A source is evaluated too: reports compare it with the others."""
    evaluated = {name for names in config.suites.values() for name in names}
    for index, name in enumerate(config.grid.sources):
        if name in known_tasks(config) and name not in evaluated:
            yield (
                ("grid", "sources", index),
                f"the source {name!r} is in no suite and would never be evaluated; add it to one",
            )


def _attention(config: Configuration) -> Found:
    """Criteria are defined for every backbone of the grid."""
    attentive = check_backbones.attentive(config)
    for index, label in enumerate(config.grid.criteria):
        name = config.criteria[label].criterion if label in config.criteria else ""
        if attentive and name and not CRITERIA[name].attention:
            yield (
                ("grid", "criteria", index),
                (
                    f"{name} is not defined for networks with attention, and grid.backbones has {listed(sorted(attentive))}; "
                    "compute it in a grid of convolutional backbones"
                ),
            )


def _groups_of_m(config: Configuration) -> Found:
    """An n:m allocation keeps a whole number of every m weights, which it cannot do in rounds."""
    in_rounds = [
        name for name in config.grid.criteria if name in config.criteria and config.criteria[name].rounds > 1
    ]
    for index, name in enumerate(config.grid.allocations):
        path, size = ("grid", "allocations", index), name.removeprefix("n_of_")
        if name not in ALLOCATIONS or not size.isdigit():
            continue
        if in_rounds:
            yield (
                path,
                (
                    f"{name} removes a whole number of every {size} weights, and rounds do not; got rounds in "
                    f"{listed(in_rounds)}; compute it in a grid of its own"
                ),
            )
        odd = [sparsity for sparsity in config.grid.sparsities if Decimal(str(sparsity)) * int(size) % 1]
        if odd:
            yield (
                path,
                f"{name} needs sparsities that are multiples of 1/{size}; got {listed(odd)}; compute it in a grid of its own",
            )


def _chosen_damping(config: Configuration) -> Found:
    """A damping that is to be chosen has candidates."""
    chosen = [
        name for name, label in config.criteria.items() if label.options.get("damping") == labels.CHOSEN
    ]
    if chosen and config.damping_choice is None:
        yield ("damping_choice",), f"missing; needed the candidates for the damping of {listed(chosen)}"


def _finetuned(config: Configuration) -> Found:
    """Treatments that are fine-tuned are in the grid."""
    for index, name in enumerate(config.grid.finetune):
        if name not in config.grid.batchnorm:
            yield (
                ("grid", "finetune", index),
                f"got {name!r}; needed one of grid.batchnorm: {', '.join(config.grid.batchnorm)}",
            )


def _milestones(config: Configuration) -> Found:
    """A multistep schedule has steps, in order."""
    path, milestones = ("finetune", "milestones"), config.finetune.milestones
    if config.finetune.schedule == "multistep" and not milestones:
        yield path, "got none; needed at least one, since finetune.schedule is multistep"
    if list(milestones) != sorted(milestones):
        yield path, f"got {shown(list(milestones))}; needed growing epochs"


def _shares(config: Configuration) -> Found:
    """Every share of the calibration images has one."""
    wanted = config.curvature
    if wanted.shares > wanted.num_examples:
        yield (
            ("curvature", "shares"),
            f"got {wanted.shares}; needed at most {wanted.num_examples}, since every share needs one of curvature.num_examples",
        )


def _results(config: Configuration) -> Found:
    """The folder of results can be in Snakemake's patterns and in a file system's paths."""
    folder = config.results
    if "{" in folder or "}" in folder:
        yield (
            ("results",),
            f"got {shown(folder)}; needed a path without braces, which Snakemake reads as wildcards",
        )
    longest = max(len(part.encode()) for part in folder.split("/"))
    if longest > 255 or len(folder.encode()) > _LONGEST_RESULTS:
        yield (
            ("results",),
            (
                f"got a path of {len(folder.encode())} bytes, whose longest name has {longest}; needed at most {_LONGEST_RESULTS} "
                "bytes, and 255 for each name"
            ),
        )


def _long_names(config: Configuration) -> Found:
    """Names of files are no longer than file systems allow."""
    names: list[tuple[Path, str]] = [
        ((section, name), name)
        for section in ("datasets", "tasks", "suites", "criteria")
        for name in getattr(config, section)
    ]
    names += [(("grid", "backbones", index), name) for index, name in enumerate(config.grid.backbones)]
    for index, sparsity in enumerate(config.grid.sparsities):
        names.append((("grid", "sparsities", index), format(Decimal(str(sparsity)), "f")))
    for path, name in names:
        if len(name) > LONGEST_NAME:
            yield path, f"got {len(name)} characters in paths; needed at most {LONGEST_NAME}"


_CHECKS: tuple[Callable[[Configuration], Found], ...] = (
    _names,
    _allocations,
    _sources,
    _attention,
    _groups_of_m,
    _chosen_damping,
    _finetuned,
    check_backbones.known,
    check_backbones.own,
    check_tasks.data_sets,
    check_tasks.tasks,
    check_tasks.calibration,
    _milestones,
    _shares,
    _results,
    _long_names,
)
