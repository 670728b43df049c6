"""Images are assigned to four disjoint splits, the same in every task."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from obtransfer.data.assign_splits import Assignment, assign_splits
from obtransfer.data.pool import ImagePool
from obtransfer.data.splits import SPLITS
from obtransfer.errors import ObtransferError

NAMES = ("ant", "bee", "cow")
COUNTS: dict[str, Any] = {"train": 5, "calibration": 3, "validation": 2, "test": 4}


def pool(*sizes: int) -> ImagePool:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return ImagePool([f"{NAMES[label]}/{row}" for row, label in enumerate(labels)], labels)


def members(dealt: Assignment, split: str, label: int, pool: int | None = None) -> list[int]:
    return [
        slot.position
        for slot in dealt.slots
        if (SPLITS[slot.split], slot.label) == (split, label) and pool in (None, slot.pool)
    ]


def test_one_pool_is_dealt_into_disjoint_splits_evenly_from_every_class() -> None:
    images = pool(20, 14, 30)
    dealt = assign_splits((images, None), [0, 1, 2], NAMES, COUNTS, seed=1)
    used = [slot.position for slot in dealt.slots]
    assert len(set(used)) == len(used) == 3 * 14
    assert all(images.labels[slot.position] == slot.label for slot in dealt.slots)
    counts = Counter((SPLITS[slot.split], slot.label) for slot in dealt.slots)
    assert counts == {(split, label): count for split, count in COUNTS.items() for label in range(3)}
    # Ordered by split, then by class, as every task is.
    assert [(slot.split, slot.label) for slot in dealt.slots] == sorted(
        (s.split, s.label) for s in dealt.slots
    )
    assert {key: len(spares) for key, spares in dealt.spares.items()} == {(0, 0): 6, (0, 1): 0, (0, 2): 16}


def test_official_test_images_go_to_test_and_nothing_else_does() -> None:
    dealt = assign_splits((pool(20, 14), pool(9, 6)), [0, 1], NAMES, COUNTS, seed=1)
    assert all((slot.pool == 1) == (SPLITS[slot.split] == "test") for slot in dealt.slots)
    assert {len(members(dealt, "test", label, pool=1)) for label in (0, 1)} == {4}


def test_a_class_is_dealt_alike_in_every_task_whatever_else_is_asked_for() -> None:
    images = pool(40, 40, 40)
    first = assign_splits((images, None), [0, 2], NAMES, COUNTS, seed=1)
    alone = assign_splits((images, None), [2, 1], NAMES, COUNTS, seed=1)
    more = assign_splits((images, None), [0, 2], NAMES, COUNTS | {"train": 20}, seed=1)
    other = assign_splits((images, None), [0, 2], NAMES, COUNTS, seed=2)
    for split in SPLITS:
        assert members(first, split, 1) == members(alone, split, 0)
        assert members(first, split, 0) == members(more, split, 0)[: COUNTS[split]]
    assert members(first, "train", 0) != members(other, "train", 0)


def test_every_image_is_as_likely_in_every_split() -> None:
    drawn = np.zeros((4, 20))
    for seed in range(1000):
        for slot in assign_splits((pool(20), None), [0], NAMES, COUNTS, seed=seed).slots:
            drawn[slot.split, slot.position] += 1
    for split, name in enumerate(SPLITS):
        expected = 1000 * COUNTS[name] / 20
        assert (abs(drawn[split] - expected) < 5 * np.sqrt(expected)).all()


def test_rest_takes_what_the_other_splits_leave() -> None:
    dealt = assign_splits(
        (pool(20, 12), pool(9, 6)), [0, 1], NAMES, COUNTS | {"train": "rest", "test": "rest"}, seed=0
    )
    assert [len(members(dealt, "train", label)) for label in (0, 1)] == [15, 7]
    assert [len(members(dealt, "test", label)) for label in (0, 1)] == [9, 6]
    with pytest.raises(ObtransferError, match="test: rest needs a data set with test images of its own"):
        assign_splits((pool(20), None), [0], NAMES, COUNTS | {"test": "rest"}, seed=0)


def test_classes_with_too_few_images_are_told_with_numbers() -> None:
    with pytest.raises(ObtransferError) as caught:
        assign_splits((pool(20, 13, 0), None), [0, 1, 2], NAMES, COUNTS, seed=0)
    assert "'bee' has 13 images of 14; 'cow' has 0 images of 14 (all splits come from one folder)" in str(
        caught.value
    )
    with pytest.raises(ObtransferError, match="'ant' has 9 train images of 10; 'ant' has 3 test images of 4"):
        assign_splits((pool(9), pool(3)), [0], NAMES, COUNTS, seed=0)
    with pytest.raises(ObtransferError, match="'ant' has 9 images of 10"):
        assign_splits((pool(9), None), [0], NAMES, COUNTS | {"train": "rest"}, seed=0)
