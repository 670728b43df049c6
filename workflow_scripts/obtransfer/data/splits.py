"""The four splits of a task, and the images that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from obtransfer.errors import ObtransferError

SPLITS = ("train", "calibration", "validation", "test")


@dataclass(frozen=True)
class TaskImages:
    """Images of one task.

    Attributes:
        pixels: uint8 [N, H, W, 3]; may be mapped from a file.
        labels: int64 [N], index in `classes`.
        split: uint8 [N], index in `SPLITS`.
        classes: names of the classes.
        notes: more that the artefact's metadata holds.
    """

    pixels: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)


class LoadTask(Protocol):
    """Makes the images of a task that needs no files of the user."""

    def __call__(self, task: str, *, seed: int, images_per_class: Mapping[str, int], view: str) -> TaskImages:
        """Images that depend on the arguments only, as the backbones with this view see them."""


@dataclass(frozen=True)
class BuiltInTask:
    """A task without a data set. The file that declares it ends with ``TASK = ...``."""

    load: LoadTask
    num_classes: int


def checked_counts(images_per_class: Mapping[str, int]) -> dict[str, int]:
    """The number of images per class of every split, in the order of `SPLITS`; 0 for splits that are not named.

    Raises:
        ObtransferError: splits that do not exist, or counts that are not non-negative integers; lists all.
    """
    problems = [f"unknown split {name!r}" for name in images_per_class if name not in SPLITS]
    problems += [
        f"{name}: {count!r} is not a non-negative integer"
        for name, count in images_per_class.items()
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0
    ]
    if problems:
        raise ObtransferError(f"images_per_class: {'; '.join(problems)}; splits are {', '.join(SPLITS)}")
    return {name: int(images_per_class.get(name, 0)) for name in SPLITS}


def split_index(split: str) -> int:
    """Index of a split in `SPLITS`.

    Raises:
        ObtransferError: no such split.
    """
    if split not in SPLITS:
        raise ObtransferError(f"needed a split among {', '.join(SPLITS)}; got {split!r}")
    return SPLITS.index(split)
