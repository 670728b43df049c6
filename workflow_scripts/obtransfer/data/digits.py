"""Real handwritten digits: scikit-learn's copy of the UCI optical digits (test part), 1797 images of 8 × 8.

The only built-in task that is not rendered: a domain shift for backbones pre-trained on glyphs.
"""

import csv
import gzip
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from obtransfer.data.splits import SPLITS, BuiltInTask, TaskImages, checked_counts
from obtransfer.data.view import RENDERED, apply_view_to_arrays, parse_view
from obtransfer.errors import ObtransferError

NAME = "handwritten"
_ENLARGEMENT = 4  # 8 × 8 to 32 × 32


def load(task: str, *, seed: int, images_per_class: Mapping[str, int], view: str = RENDERED) -> TaskImages:
    """The digits, split.

    Every class is shuffled by (seed, class), and each split takes its images from its own place, so splits are disjoint.
    Of pixel-identical images, if any, only the first is kept.

    Args:
        task: "handwritten".
        seed: non-negative.
        images_per_class: images per class of each split; a class has about 174 to 183.
        view: of the backbone; images are enlarged to 32 pixels first.

    Returns:
        Grey images in RGB, light on dark, ordered by split and class.

    Raises:
        ObtransferError: another task, or more images than there are.
    """
    if task != NAME:
        raise ObtransferError(f"needed the task {NAME!r}; got {task!r}")
    counts = checked_counts(images_per_class)
    pixels, digits = _unique_digits()
    available = int(np.bincount(digits).min())
    if sum(counts.values()) > available:
        raise ObtransferError(
            f"{NAME}: needed {sum(counts.values())} images per class ({counts}); got {available} in the smallest class; lower "
            "images_per_class for this task"
        )
    chosen, labels, split_of = [], [], []
    shuffled = [
        np.random.default_rng([seed, digit]).permutation(np.flatnonzero(digits == digit))
        for digit in range(10)
    ]
    start = 0
    for split, name in enumerate(SPLITS):
        for digit in range(10):
            chosen.append(shuffled[digit][start : start + counts[name]])
            labels += [digit] * counts[name]
            split_of += [split] * counts[name]
        start += counts[name]
    images = apply_view_to_arrays(_enlarge(pixels[np.concatenate(chosen)]), parse_view(view))
    return TaskImages(
        images, np.array(labels, dtype=np.int64), np.array(split_of, dtype=np.uint8), tuple("0123456789")
    )


@lru_cache(maxsize=1)
def _unique_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 8, 8] in 0…16 and digits int64 [N], without repeated images.

    Reads the file that scikit-learn ships without importing scikit-learn, which takes seconds.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ObtransferError(
            f"the task {NAME!r} needs scikit-learn, which is not installed; run pip install scikit-learn"
        )
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise ObtransferError(
            f"there is no file {path}: this scikit-learn does not ship the digits; install it again"
        )
    with gzip.open(path, "rt", encoding="ascii") as stream:
        table = np.array([[int(float(value)) for value in row] for row in csv.reader(stream)], dtype=np.int64)
    _, first = np.unique(table[:, :64], axis=0, return_index=True)
    table = table[np.sort(first)]
    return table[:, :64].reshape(-1, 8, 8).astype(np.uint8), table[:, 64]


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Bilinear enlargement to uint8 [N, 32, 32, 3]; 16, the whitest, becomes 255."""
    side = images.shape[-1]
    position = np.clip((np.arange(side * _ENLARGEMENT) + 0.5) / _ENLARGEMENT - 0.5, 0, side - 1)
    low = np.minimum(position.astype(int), side - 2)
    part = (position - low).astype(np.float32)
    grey = images.astype(np.float32) * np.float32(255 / 16)
    rows = grey[:, low, :] * (1 - part[:, None]) + grey[:, low + 1, :] * part[:, None]
    both = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    return np.repeat(np.rint(both).astype(np.uint8)[..., None], 3, axis=-1)


TASK = {NAME: BuiltInTask(load, num_classes=10)}
