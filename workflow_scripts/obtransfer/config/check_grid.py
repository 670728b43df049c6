"""Is the grid right?"""

from __future__ import annotations

from decimal import Decimal

from obtransfer.config import check_backbones
from obtransfer.config.describe import Path, listed, unknown
from obtransfer.config.entry import Found, Raw
from obtransfer.config.tasks import known_tasks
from obtransfer.registry import ALLOCATIONS, CRITERIA
from obtransfer.settings import Configuration

LONGEST_NAME = 100
"""Characters. Names of files are made of at most two such names; file systems allow 255 bytes."""


def names(raw: Raw, config: Configuration) -> Found:
    """Tasks and allocations exist."""
    for index, name in enumerate(config.grid.allocations):
        if name not in ALLOCATIONS:
            yield ("grid", "allocations", index), unknown(name, ALLOCATIONS, "allocation")
    tasks = known_tasks(config)
    listed_tasks: list[tuple[Path, str]] = [
        (("suites", suite, index), name)
        for suite, entries in config.suites.items()
        for index, name in enumerate(entries)
    ]
    listed_tasks += [(("grid", "sources", index), name) for index, name in enumerate(config.grid.sources)]
    for path, name in listed_tasks:
        if name not in tasks:
            yield path, unknown(name, tasks, "task")


def lengths(raw: Raw, config: Configuration) -> Found:
    """Names and sparsities are short enough for names of files."""
    words: list[tuple[Path, str]] = [
        (("grid", "sparsities", index), format(Decimal(str(sparsity)), "f"))
        for index, sparsity in enumerate(config.grid.sparsities)
    ]
    words += [(("grid", "backbones", index), name) for index, name in enumerate(config.grid.backbones)]
    for section in ("datasets", "tasks", "suites", "criteria"):
        words += [((section, name), name) for name in getattr(config, section)]
    for path, word in words:
        if len(word) > LONGEST_NAME:
            yield path, f"got {len(word)} characters in a name of files; needed at most {LONGEST_NAME}"


def sources(raw: Raw, config: Configuration) -> Found:
    """A source is evaluated too: reports compare it with the other tasks."""
    evaluated = {name for names in config.suites.values() for name in names}
    for index, name in enumerate(config.grid.sources):
        if name in known_tasks(config) and name not in evaluated:
            message = f"the source {name!r} is in no suite and would never be evaluated; add it to one"
            yield ("grid", "sources", index), message


def attention(raw: Raw, config: Configuration) -> Found:
    """Criteria are defined for every backbone of the grid."""
    attentive = sorted(check_backbones.attentive(config))
    for index, label in enumerate(config.grid.criteria):
        name = config.criteria[label].criterion if label in config.criteria else ""
        if attentive and name and not CRITERIA[name].attention:
            problem = f"{name} is not defined for networks with attention, and grid.backbones has {listed(attentive)}"
            yield ("grid", "criteria", index), f"{problem}; compute it in a grid of convolutional backbones"


def groups_of_m(raw: Raw, config: Configuration) -> Found:
    """An n:m allocation keeps a whole number of every m weights, which it cannot do in rounds."""
    labels = [name for name in config.grid.criteria if name in config.criteria]
    in_rounds = [name for name in labels if config.criteria[name].rounds > 1]
    for index, name in enumerate(config.grid.allocations):
        path, size = ("grid", "allocations", index), name.removeprefix("n_of_")
        if name not in ALLOCATIONS or not size.isdigit():
            continue
        apart = "compute it in a grid of its own"
        if in_rounds:
            needed = f"{name} removes a whole number of every {size} weights, and rounds do not"
            yield path, f"{needed}; got rounds in {listed(in_rounds)}; {apart}"
        odd = [sparsity for sparsity in config.grid.sparsities if Decimal(str(sparsity)) * int(size) % 1]
        if odd:
            yield path, f"{name} needs sparsities that are multiples of 1/{size}; got {listed(odd)}; {apart}"


def finetuned(raw: Raw, config: Configuration) -> Found:
    """Treatments that are fine-tuned are in the grid."""
    treatments = config.grid.batchnorm
    for index, name in enumerate(config.grid.finetune):
        if name not in treatments:
            message = f"got {name!r}; needed one of grid.batchnorm: {', '.join(treatments)}"
            yield ("grid", "finetune", index), message
