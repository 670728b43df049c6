"""Is config.yaml right? Everything that is wrong is told at once, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from obtransfer.errors import ObtransferError
from obtransfer.registry import ALLOCATIONS, BACKBONES, CRITERIA, ESTIMATORS, TASKS
from obtransfer.schema import did_you_mean, problems, read_schema, shown

CLASSES_PER_TASK = 10  # ASSUME: every task of the registry has ten classes
RESERVED_LABEL = "dense"

_SETTINGS = {
    "none": (),
    "diagonal": ("estimator", "damping", "damping_mode"),
    "block": ("estimator", "block_size", "damping", "damping_mode"),
}
_BATCHNORMS = ("keep", "recalibrate")
_OPTIONAL = {"damping_mode"}


def check(config: Mapping[str, Any]) -> None:
    """Refuse a configuration with errors.

    Types, ranges and unknown keys come from rules/config.schema.yaml, names from the registry, and the rest,
    which concerns several keys, from here.

    Args:
        config: what config.yaml holds, with what the command line overrides; not changed.

    Raises:
        ObtransferError: one line for each error: the key's path, what was got, what is allowed, and
            the nearest word.
    """
    found = problems(config, read_schema())
    if isinstance(config, Mapping):
        for rule in (_duplicates, _names, _sources, _criteria, _finetuned, _calibration, _milestones):
            found += rule(config)
    if found:
        count = "1 error" if len(found) == 1 else f"{len(found)} errors"
        raise ObtransferError("\n  ".join([f"the configuration has {count}:", *found]))


def _duplicates(config: Mapping[str, Any]) -> Iterator[str]:
    """Lists name nothing twice: 0.5 and 0.50 are the same."""
    for path, values in _lists(config, ""):
        for index, value in enumerate(values):
            earlier = values.index(value)  # ASSUME: lists are short
            if earlier < index:
                yield f"{path}[{index}]: {shown(value)} is in this list already, at [{earlier}]; remove one"


def _names(config: Mapping[str, Any]) -> Iterator[str]:
    """Tasks, backbones and allocations exist."""
    for path, name in _entries(config, "grid", "sources"):
        yield from _unknown(path, name, TASKS, "task")
    for suite in _mapping(config, "suites"):
        for path, name in _entries(config, "suites", suite):
            yield from _unknown(path, name, TASKS, "task")
    for path, name in _entries(config, "grid", "allocations"):
        yield from _unknown(path, name, ALLOCATIONS, "allocation")
    for path, name in _entries(config, "grid", "backbones"):
        architecture, _, pretraining = name.partition(".")
        pretrainings = [
            known.partition(".")[2] for known in BACKBONES if known.startswith(f"{architecture}.")
        ]
        if pretrainings:
            yield from _unknown(path, pretraining, pretrainings, f"pretraining of {architecture}:")
        else:
            yield from _unknown(path, name, BACKBONES, "backbone")


def _sources(config: Mapping[str, Any]) -> Iterator[str]:
    """A source is evaluated too: P1 and P2 compare it with the others."""
    evaluated = {
        name for suite in _mapping(config, "suites") for _, name in _entries(config, "suites", suite)
    }
    for path, name in _entries(config, "grid", "sources"):
        if name in TASKS and name not in evaluated:
            yield f"{path}: the source {name!r} is in no suite and would never be evaluated; add it to one"


def _criteria(config: Mapping[str, Any]) -> Iterator[str]:
    """Labels mean something, and their settings are those that the criterion reads."""
    defined = _mapping(config, "criteria")
    for label in defined:
        yield from _label(label, _mapping(config, "criteria", label))
    for path, label in _entries(config, "grid", "criteria"):
        if label in defined:
            continue
        yield from _unknown(path, label, [*defined, *CRITERIA], "criterion or label")
        if label in CRITERIA and CRITERIA[label].needs != "none":
            needed = ", ".join(_SETTINGS[CRITERIA[label].needs])
            yield f"{path}: {label!r} needs settings ({needed}); define it under criteria"


def _label(label: Any, settings: Mapping[str, Any]) -> Iterator[str]:
    path, name = f"criteria.{label}", settings.get("criterion")
    if label == RESERVED_LABEL:
        yield f"{path}: the label {label!r} is reserved for the model that is not pruned; choose another"
    if not isinstance(name, str):
        return
    if name not in CRITERIA:
        yield from _unknown(f"{path}.criterion", name, CRITERIA, "criterion")
        return
    if label in CRITERIA and label != name:
        yield f"{path}: the label {label!r} is a criterion, but its settings say {name!r}; rename the label"
    yield from _settings(path, name, settings)


def _settings(path: str, name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    needs = CRITERIA[name].needs
    for key in _SETTINGS[needs]:
        if key not in settings and key not in _OPTIONAL:
            yield f"{path}.{key}: missing; {name} needs it"
    for key in _SETTINGS["block"]:
        if key in settings and key not in _SETTINGS[needs]:
            yield f"{path}.{key}: {name} does not read it; remove it"
    estimator = settings.get("estimator")
    if needs != "none" and isinstance(estimator, str):
        yield from _unknown(f"{path}.estimator", estimator, ESTIMATORS, "estimator")
    if needs == "block" and settings.get("damping") == 0:
        yield f"{path}.damping: got 0; needed more than 0, since {name} inverts blocks that may be singular"


def _finetuned(config: Mapping[str, Any]) -> Iterator[str]:
    """What is fine-tuned is in the grid."""
    treatments = [name for _, name in _entries(config, "grid", "batchnorm")]
    for path, name in _entries(config, "grid", "finetune"):
        if name not in treatments and {name, *treatments} <= set(_BATCHNORMS):
            yield f"{path}: got {name!r}; needed one of grid.batchnorm: {', '.join(treatments)}"


def _calibration(config: Mapping[str, Any]) -> Iterator[str]:
    """Curvature reads no more calibration images than there are."""
    wanted = _mapping(config, "curvature").get("num_examples")
    per_class = _mapping(config, "data", "images_per_class").get("calibration")
    if isinstance(wanted, int) and isinstance(per_class, int) and wanted > CLASSES_PER_TASK * per_class > 0:
        yield (
            f"curvature.num_examples: got {wanted}; needed at most {CLASSES_PER_TASK * per_class} "
            f"({CLASSES_PER_TASK} classes × data.images_per_class.calibration = {per_class})"
        )


def _milestones(config: Mapping[str, Any]) -> Iterator[str]:
    """A multistep schedule has steps, in order."""
    settings = _mapping(config, "finetune")
    milestones = settings.get("milestones", [])
    if settings.get("schedule") == "multistep" and not milestones:
        yield "finetune.milestones: got none; needed at least one, since finetune.schedule is multistep"
    whole = isinstance(milestones, list) and all(isinstance(epoch, int) for epoch in milestones)
    if whole and milestones != sorted(milestones):
        yield f"finetune.milestones: got {shown(milestones)}; needed growing epochs"


def _unknown(path: str, name: str, known: Iterable[str], what: str) -> Iterator[str]:
    """Tell a name that is not known, with those that are."""
    if name not in known:
        yield f"{path}: unknown {what} {name!r}; {did_you_mean(name, known)}there are: {', '.join(known)}"


def _mapping(config: Mapping[str, Any], *keys: Any) -> Mapping[Any, Any]:
    """The mapping below `keys`; empty where there is none, which the schema tells."""
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _entries(config: Mapping[str, Any], *keys: Any) -> list[tuple[str, str]]:
    """Path and text of every entry of the list below `keys` that is text."""
    values = _mapping(config, *keys[:-1]).get(keys[-1])
    path = ".".join(map(str, keys))
    listed = values if isinstance(values, list) else []
    return [(f"{path}[{index}]", value) for index, value in enumerate(listed) if isinstance(value, str)]


def _lists(value: Any, path: str) -> Iterator[tuple[str, list[Any]]]:
    """Every list in a configuration, with its path."""
    if isinstance(value, list):
        yield path, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _lists(item, f"{path}.{key}" if path else str(key))
