"""Schedules: by hand, against floating point, strictly increasing, and exact at the end."""

from decimal import Decimal
from itertools import pairwise

import pytest
from obtransfer.dag.schedule import SCHEDULES, sparsities
from obtransfer.errors import ObtransferError

FORMULAS = {
    "exponential": lambda q, done: 1 - (1 - q) ** done,
    "linear": lambda q, done: q * done,
    "cubic": lambda q, done: q * (1 - (1 - done) ** 3),
}


def test_by_hand():
    # A tenth of the survivors stays in each of two rounds; 0.9 in thirds; 0.8 · (1 − 1/8).
    assert sparsities("0.99", 2) == ["0.9", "0.99"]
    assert sparsities("0.9", 3, "linear") == ["0.3", "0.6", "0.9"]
    assert sparsities("0.8", 2, "cubic") == ["0.7", "0.8"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sparsity", ["0.5", "0.30", "0.999999", "0.000000001"])
@pytest.mark.parametrize("rounds", [1, 2, 7, 100])
def test_strictly_increasing_to_exactly_q(schedule, sparsity, rounds):
    found = sparsities(sparsity, rounds, schedule)
    assert len(found) == rounds and found[-1] == sparsity
    numbers = [Decimal(0), *map(Decimal, found)]
    assert all(low < high for low, high in pairwise(numbers))
    assert all(text.startswith("0.") and text[2:].isdigit() for text in found)
    for done, text in enumerate(found, start=1):
        assert float(text) == pytest.approx(FORMULAS[schedule](float(sparsity), done / rounds), abs=6e-10)


def test_the_exponential_schedule_removes_the_same_share_of_the_survivors_each_round():
    kept = [1.0, *(1 - float(removed) for removed in sparsities("0.95", 8))]
    shares = [after / before for before, after in pairwise(kept)]
    assert shares == pytest.approx([0.05 ** (1 / 8)] * 8, rel=1e-7)


def test_rounds_that_nine_decimals_cannot_tell_apart_get_more():
    found = sparsities("0.1", 5000, "cubic")
    assert len(set(found)) == 5000 and max(map(len, found)) > 2 + 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0.5", 0), "at least 1"),
        (("0", 2), "exactly 1 for a sparsity of 0"),
        (("1", 2), "less than 1"),
        (("0.5", 2, "sudden"), "exponential, linear, cubic; got 'sudden'"),
    ],
)
def test_what_makes_no_schedule_is_refused(arguments, message):
    with pytest.raises(ObtransferError, match=message):
        sparsities(*arguments)


def test_one_round_is_the_sparsity_itself():
    assert sparsities("0", 1) == ["0"] and sparsities("0.70", 1, "cubic") == ["0.70"]
