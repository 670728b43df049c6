"""Is config.yaml right? Everything that is wrong is told at once, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from obtransfer.config import check_backbones as backbone_configuration
from obtransfer.config import check_tasks as task_configuration
from obtransfer.config.lookup import entries as _entries
from obtransfer.config.lookup import mapping as _mapping
from obtransfer.config.lookup import unknown as _unknown
from obtransfer.config.schema import problems, read_schema, shown
from obtransfer.dag import exports as exported
from obtransfer.errors import ObtransferError
from obtransfer.registry import (
    ALLOCATIONS,
    CRITERIA,
    ESTIMATORS,
    LOSSES,
)

RESERVED_LABEL = "dense"

CHOSEN = "chosen"
ROW = "row"

_BATCHNORMS = ("keep", "recalibrate")
_OF_THE_STATISTIC = {"block": ("block_size",), "kfac": ("eigenvalue_correction",)}
_OF_THE_MASK = ("rounds", "schedule")
_OPTIONAL = {"damping_mode", "negative", "eigenvalue_correction", "update", *_OF_THE_MASK}


def check(config: Mapping[str, Any]) -> None:
    """Refuse a configuration with errors.

    Types, ranges and unknown keys come from workflow_scripts/obtransfer/config/schema.yaml, names from the registry, and the rest,
    which concerns several keys, from here.

    Args:
        config: what config.yaml holds, with what the command line overrides; not changed.

    Raises:
        ObtransferError: one line for each error: the key's path, what was got, what is allowed, and
            the nearest word.
    """
    found = problems(config, read_schema())
    if isinstance(config, Mapping):
        for rule in (
            _duplicates,
            _names,
            _sources,
            _criteria,
            _undefined,
            _groups_of_m,
            _chosen_damping,
            _finetuned,
            backbone_configuration.known,
            backbone_configuration.own,
            task_configuration.data_sets,
            task_configuration.tasks,
            task_configuration.calibration,
            _milestones,
            exported.problems,
        ):
            found += rule(config)
    if found:
        count = "1 error" if len(found) == 1 else f"{len(found)} errors"
        raise ObtransferError("\n  ".join([f"the configuration has {count}:", *found]))


def _duplicates(config: Mapping[str, Any]) -> Iterator[str]:
    """Lists name nothing twice: 0.5 and 0.50 are the same; only those of colours may."""
    for path, values in _lists(config, ""):
        if path.startswith("backbones."):
            continue
        for index, value in enumerate(values):
            earlier = values.index(value)  # ASSUME: lists are short
            if earlier < index:
                yield f"{path}[{index}]: {shown(value)} is in this list already, at [{earlier}]; remove one"


def _names(config: Mapping[str, Any]) -> Iterator[str]:
    """Tasks, allocations and losses exist."""
    tasks = task_configuration.known_tasks(config)
    for path, name in _entries(config, "grid", "sources"):
        yield from _unknown(path, name, tasks, "task")
    for suite in _mapping(config, "suites"):
        for path, name in _entries(config, "suites", suite):
            yield from _unknown(path, name, tasks, "task")
    for path, name in _entries(config, "grid", "allocations"):
        yield from _unknown(path, name, ALLOCATIONS, "allocation")
    loss = _mapping(config, "curvature").get("loss")
    if isinstance(loss, str):
        yield from _unknown("curvature.loss", loss, LOSSES, "loss")


def _sources(config: Mapping[str, Any]) -> Iterator[str]:
    """A source is evaluated too: P1 and P2 compare it with the others."""
    evaluated = {
        name for suite in _mapping(config, "suites") for _, name in _entries(config, "suites", suite)
    }
    for path, name in _entries(config, "grid", "sources"):
        if name in task_configuration.known_tasks(config) and name not in evaluated:
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
        needed = [key for key in _keys(label) if key not in _OPTIONAL] if label in CRITERIA else []
        if needed:
            yield f"{path}: {label!r} needs settings ({', '.join(needed)}); define it under criteria"


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


def _keys(name: str) -> list[str]:
    """The settings that a criterion reads, besides its name."""
    criterion = CRITERIA[name]
    free = criterion.needs != "none" and not criterion.estimator
    keys = ["estimator"] if free else []
    keys += [*_OF_THE_STATISTIC.get(criterion.needs, ()), *criterion.settings, *_OF_THE_MASK]
    return [*keys, "update"] if criterion.needs == "block" else keys


def _settings(path: str, name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    keys = _keys(name)
    for key in keys:
        if key not in settings and key not in _OPTIONAL:
            yield f"{path}.{key}: missing; {name} needs it"
    for key in settings:
        if key != "criterion" and key not in keys and key in _keys_of_labels():
            yield f"{path}.{key}: {name} does not read it; remove it"
    yield from _values(path, name, settings)


def _values(path: str, name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot say of a label's values."""
    criterion, estimator = CRITERIA[name], settings.get("estimator")
    if "estimator" in _keys(name) and isinstance(estimator, str):
        able = [known for known, entry in ESTIMATORS.items() if criterion.needs in entry.structures]
        yield from _unknown(
            f"{path}.estimator", estimator, able, f"estimator (of {criterion.needs} curvature)"
        )
    if criterion.needs in ("block", "kfac") and settings.get("damping") == 0:
        yield f"{path}.damping: got 0; needed more than 0, since {name} inverts what may be singular"
    for key, word in (("damping", CHOSEN), ("block_size", ROW)):
        value = settings.get(key)
        if isinstance(value, str) and value != word:
            yield f"{path}.{key}: got the text {value!r}; needed a number or {word!r}"
    rounds = settings.get("rounds", 1)
    several = isinstance(rounds, int) and rounds > 1
    if several and "update" in settings:
        yield f"{path}.update: the update is for masks made in one round; remove it or rounds"
    if "schedule" in settings and not several:
        yield f"{path}.schedule: is read with rounds of 2 or more; remove it or add rounds"


def _keys_of_labels() -> Mapping[str, Any]:
    """What the schema knows of a label's settings."""
    labels: Mapping[str, Any] = read_schema()["properties"]["criteria"]["additionalProperties"]["properties"]
    return labels


def _undefined(config: Mapping[str, Any]) -> Iterator[str]:
    """Criteria that are not defined for a backbone of the grid."""
    attentive = backbone_configuration.attentive(config)
    for path, label in _entries(config, "grid", "criteria"):
        name = _mapping(config, "criteria", label).get("criterion", label)
        if attentive and name in CRITERIA and not CRITERIA[name].attention:
            yield (
                f"{path}: {name} is not defined for networks with attention, and grid.backbones has "
                f"{', '.join(sorted(attentive))}; compute it in a grid of convolutional backbones"
            )


def _groups_of_m(config: Mapping[str, Any]) -> Iterator[str]:
    """An n:m allocation keeps a whole number of every m weights, which it cannot do in rounds."""
    in_rounds = [
        label
        for _, label in _entries(config, "grid", "criteria")
        if _mapping(config, "criteria", label).get("rounds", 1) != 1
    ]
    sparsities = _mapping(config, "grid").get("sparsities")
    for path, name in _entries(config, "grid", "allocations"):
        size = name.removeprefix("n_of_")
        if name not in ALLOCATIONS or not size.isdigit() or not isinstance(sparsities, list):
            continue
        if in_rounds:
            yield (
                f"{path}: {name} removes a whole number of every {size} weights, and rounds do not; got rounds in "
                f"{', '.join(in_rounds)}: compute it in a grid of its own"
            )
        odd = [q for q in sparsities if isinstance(q, (int, float)) and Decimal(str(q)) * int(size) % 1]
        if odd:
            yield (
                f"{path}: {name} needs sparsities that are multiples of 1/{size}; got {', '.join(map(str, odd))}; "
                "compute it in a grid of its own"
            )


def _chosen_damping(config: Mapping[str, Any]) -> Iterator[str]:
    """A damping to be chosen has candidates, and is chosen for criteria of the grid."""
    labels = [label for label, chosen in _mapping(config, "criteria").items() if _is_chosen(chosen)]
    if labels and not _mapping(config, "damping_choice"):
        yield (
            f"damping_choice: missing; needed the candidates for the damping of {', '.join(map(str, labels))}"
        )


def _is_chosen(settings: Any) -> bool:
    return isinstance(settings, Mapping) and settings.get("damping") == CHOSEN


def _finetuned(config: Mapping[str, Any]) -> Iterator[str]:
    """What is fine-tuned is in the grid."""
    treatments = [name for _, name in _entries(config, "grid", "batchnorm")]
    for path, name in _entries(config, "grid", "finetune"):
        if name not in treatments and {name, *treatments} <= set(_BATCHNORMS):
            yield f"{path}: got {name!r}; needed one of grid.batchnorm: {', '.join(treatments)}"


def _milestones(config: Mapping[str, Any]) -> Iterator[str]:
    """A multistep schedule has steps, in order."""
    settings = _mapping(config, "finetune")
    milestones = settings.get("milestones", [])
    if settings.get("schedule") == "multistep" and not milestones:
        yield "finetune.milestones: got none; needed at least one, since finetune.schedule is multistep"
    whole = isinstance(milestones, list) and all(isinstance(epoch, int) for epoch in milestones)
    if whole and milestones != sorted(milestones):
        yield f"finetune.milestones: got {shown(milestones)}; needed growing epochs"


def _lists(value: Any, path: str) -> Iterator[tuple[str, list[Any]]]:
    """Every list in a configuration, with its path."""
    if isinstance(value, list):
        yield path, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _lists(item, f"{path}.{key}" if path else str(key))
