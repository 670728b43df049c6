"""Which images of a data set go to which split of a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from obtransfer.data.listing import in_words
from obtransfer.data.pool import ImagePool
from obtransfer.data.splits import SPLITS
from obtransfer.errors import ObtransferError

REST = "rest"
# Training images last: asking for more of them leaves the other splits as they are.
ORDER = ("test", "validation", "calibration", "train")
_MOST_NAMED = 10
Count = int | str


@dataclass
class Slot:
    """One image of a task: the pool and position that it comes from, and its split.

    `label`: index among the task's classes; `split`: index in `SPLITS`.
    """

    pool: int
    position: int
    label: int
    split: int


@dataclass
class Assignment:
    """The slots by split, class and draw. `spares`: by pool and label, the positions left, which may replace some."""

    slots: list[Slot]
    spares: dict[tuple[int, int], list[int]] = field(default_factory=dict)


def assign_splits(
    pools: tuple[ImagePool, ImagePool | None],
    chosen: Sequence[int],
    names: Sequence[str],
    images_per_class: Mapping[str, Count],
    seed: int,
) -> Assignment:
    """Assign the images of every class to the four splits, disjointly.

    The images of a class are shuffled by (seed, the class's name) alone, so they are the same in every task that has the
    class. Official test images go to test and nowhere else; without any, all splits come from one pool.

    Args:
        pools: images to train on, and official test images or None.
        chosen: the task's classes, as indices in `names`.
        names: of the data set's classes.
        images_per_class: of every split; "rest" for all that the other splits leave, which train may have, and test where
            there are official test images.
        seed: non-negative.

    Returns:
        Slots in the order of `SPLITS`, then by class.

    Raises:
        ObtransferError: classes with too few images, with what they have and need.
    """
    official = pools[1] is not None
    if images_per_class.get("test") == REST and not official:
        raise ObtransferError(
            "images_per_class.test: rest needs a data set with test images of its own; this one is split by seed; give a number"
        )
    assigned: dict[str, list[Slot]] = {split: [] for split in SPLITS}
    spares: dict[tuple[int, int], list[int]] = {}
    short: list[str] = []
    for label, index in enumerate(chosen):
        stacks = [_shuffled(pool, index, names[index], seed) for pool in pools if pool is not None]
        short += _shortages(names[index], list(map(len, stacks)), images_per_class)
        for split in ORDER:
            pool = int(official and split == "test")
            count = images_per_class.get(split, 0)
            taken, stacks[pool] = _take(stacks[pool], count)
            assigned[split] += [Slot(pool, position, label, SPLITS.index(split)) for position in taken]
        spares |= {(pool, label): stack for pool, stack in enumerate(stacks)}
    if short:
        raise ObtransferError(_too_few(short, official, all_left_out(pools)))
    return Assignment([slot for split in SPLITS for slot in assigned[split]], spares)


def _shuffled(pool: ImagePool, index: int, name: str, seed: int) -> list[int]:
    members = np.flatnonzero(pool.labels == index)
    return [
        int(position) for position in np.random.default_rng([seed, crc32(name.encode())]).permutation(members)
    ]


def _take(stack: list[int], count: Count) -> tuple[list[int], list[int]]:
    end = len(stack) if isinstance(count, str) else count
    return stack[:end], stack[end:]


def _shortages(name: str, sizes: Sequence[int], counts: Mapping[str, Count]) -> list[str]:
    """What a class lacks: of the one pool, or of the official train and test images."""
    needed = {split: 1 if counts.get(split) == REST else int(counts.get(split, 0)) for split in SPLITS}
    of_test = needed["test"] if len(sizes) == 2 else 0
    wanted = [sum(needed.values()) - of_test, of_test][: len(sizes)]
    kinds = [""] if len(sizes) == 1 else ["train ", "test "]
    return [
        f"{name!r} has {size} {kind}images of {need}"
        for size, need, kind in zip(sizes, wanted, kinds, strict=True)
        if size < need
    ]


def all_left_out(pools: Sequence[ImagePool | None]) -> Counter[str]:
    """Why files are not among the images of the pools, to how many."""
    return sum((Counter(pool.left_out) for pool in pools if pool), Counter[str]())


def _too_few(short: Sequence[str], official: bool, left_out: Counter[str]) -> str:
    more = f"; and {len(short) - _MOST_NAMED} more" if len(short) > _MOST_NAMED else ""
    where = (
        "train, calibration and validation come from the train images"
        if official
        else "all splits come from one folder"
    )
    files = f"; left out: {in_words(left_out.most_common())}" if left_out else ""
    return (
        f"some classes have too few images: {'; '.join(short[:_MOST_NAMED])}{more} ({where}{files}); lower images_per_class, or "
        "leave these classes out"
    )
