"""What the DAG must know about a task: how many classes and images it has."""

from __future__ import annotations

from dataclasses import asdict

from obtransfer.registry import DATASETS, TASKS
from obtransfer.settings import Configuration, Draw

CLASSES_DRAWN = 10
"""Classes of a task whose entry names none."""


def known_tasks(config: Configuration) -> list[str]:
    """Names that a suite or a source may have."""
    return [*TASKS, *config.tasks]


def num_classes(config: Configuration, task: str) -> int | None:
    """How many classes a task has; None where only the data set's files show it."""
    if task in TASKS:
        return TASKS[task].num_classes
    classes = config.tasks[task].classes
    every = DATASETS[config.datasets[config.tasks[task].dataset].kind].num_classes
    if classes is None:
        return CLASSES_DRAWN if every else None
    if isinstance(classes, Draw):
        return classes.draw
    return every if isinstance(classes, str) else len(classes)


def images_per_class(config: Configuration, task: str) -> dict[str, int | str]:
    """Images of every class in each split: the task's own numbers over those under `data`."""
    own = asdict(config.tasks[task].images_per_class) if task in config.tasks else {}
    return asdict(config.data.images_per_class) | {
        split: count for split, count in own.items() if count is not None
    }
