"""Are the labels of criteria right?"""

from __future__ import annotations

from collections.abc import Mapping

from obtransfer.config.describe import listed, unknown
from obtransfer.config.entry import Found, Raw
from obtransfer.config.labels import CHOSEN, DENSE, required
from obtransfer.registry import CRITERIA
from obtransfer.settings import Configuration


def undefined(raw: Raw, config: Configuration) -> Found:
    """Labels of the grid are defined, or are criteria without required settings."""
    configured = _entries(raw)
    for index, label in enumerate(config.grid.criteria):
        if label in config.criteria or label in configured:
            continue
        message = unknown(label, [*configured, *CRITERIA], "criterion or label")
        if label in CRITERIA:
            message = f"{label!r} needs settings ({', '.join(required(label))}); define it under criteria"
        yield ("grid", "criteria", index), message


def labels(raw: Raw, config: Configuration) -> Found:
    """Labels do not mislead, and settings of rounds are read."""
    for name, label in config.criteria.items():
        path = ("criteria", name)
        if name == DENSE:
            yield path, f"the label {name!r} is reserved for the model that is not pruned; choose another"
        if name in CRITERIA and name != label.criterion:
            named = f"the label {name!r} is a criterion, but its settings say {label.criterion!r}"
            yield path, f"{named}; rename the label"
        if label.rounds > 1 and label.update:
            yield (*path, "update"), "the update is for masks made in one round; remove it or rounds"
        if label.rounds == 1 and "schedule" in _entries(raw).get(name, {}):
            yield (*path, "schedule"), "it is read with rounds of 2 or more; remove it or add rounds"


def chosen_damping(raw: Raw, config: Configuration) -> Found:
    """A damping that is to be chosen has candidates."""
    chosen = [name for name, label in config.criteria.items() if label.options.get("damping") == CHOSEN]
    if chosen and config.damping_choice is None:
        yield ("damping_choice",), f"missing; needed the candidates for the damping of {listed(chosen)}"


def _entries(raw: Raw) -> Raw:
    entries = raw.get("criteria")
    return entries if isinstance(entries, Mapping) else {}
