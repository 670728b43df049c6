"""Which classes a task has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from obtransfer.config.tasks import CLASSES_DRAWN
from obtransfer.data.classes import DRAWN, choose_classes
from obtransfer.errors import ObtransferError
from obtransfer.settings import Draw

NAMES = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite", "lark")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("all", list(range(12))), ([3, 0], [3, 0]), (["fox", "ant", 2], [5, 0, 2])],
)
def test_listed_classes_keep_their_order(wanted: Any, expected: list[int]) -> None:
    assert choose_classes(wanted, NAMES, seed=0) == expected


def test_drawn_classes_are_decided_by_the_seed_and_parts_of_one_draw_are_disjoint() -> None:
    parts = [choose_classes(Draw(draw=4, seed=7, part=part), NAMES, seed=0) for part in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(12)) and all(
        part == sorted(part) for part in parts
    )
    again, other = (choose_classes(Draw(draw=4, seed=seed), NAMES, seed=0) for seed in (7, 8))
    assert again == parts[0] != other
    # Every class has the same chance.
    counts = np.zeros(12)
    for seed in range(1200):
        counts[choose_classes(Draw(draw=4), NAMES, seed=seed)] += 1
    assert (abs(counts - 400) < 5 * np.sqrt(400 * 8 / 12)).all()


def test_ten_are_drawn_when_nothing_is_said_or_all_where_there_are_fewer() -> None:
    drawn = choose_classes(None, NAMES, seed=5)
    assert len(drawn) == 10 and drawn == choose_classes(Draw(draw=10, seed=5), NAMES, seed=0)
    assert choose_classes(None, NAMES[:3], seed=5) == [0, 1, 2]
    assert DRAWN == CLASSES_DRAWN


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ["foxx", "zebra", 12],
            "no class is called 'foxx'; did you mean 'fox'?; no class is called 'zebra'; there are ",
        ),
        ([12], "there is no index 12: indices go from 0 to 11"),
        (["fox", 5], "'fox' (index 5) is listed twice"),
        (Draw(draw=5, part=2), "part 2 of draws of 5 needs 15 classes, but the data set has 12"),
    ],
)
def test_what_is_wrong_is_told_at_once(wanted: Any, message: str) -> None:
    with pytest.raises(ObtransferError) as caught:
        choose_classes(wanted, NAMES, seed=0)
    assert message in str(caught.value)


def test_a_number_that_is_a_name_too_must_be_quoted() -> None:
    names = ("0", "1", "10", "2")  # folders, sorted as text
    assert choose_classes(["10", 0, 1], names, seed=0) == [2, 0, 1]
    with pytest.raises(
        ObtransferError, match="2 is both the index of '10' and a class's name; write the name in quotes"
    ):
        choose_classes([2], names, seed=0)
