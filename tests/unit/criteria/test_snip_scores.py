"""SNIP: by hand, and its failures."""

import numpy as np
import pytest
from obtransfer.criteria.snip import snip
from obtransfer.errors import ObtransferError

WEIGHT = {"layer": np.array([1.0, -2.0, 3.0, 0.0], dtype=np.float32)}
STATISTIC = {"layer": np.array([2.0, 1.0, -0.5, 5.0], dtype=np.float32)}


def test_four_weights_by_hand():
    np.testing.assert_array_equal(snip(WEIGHT, STATISTIC).scores["layer"], [2.0, 2.0, 1.5, 0.0])


def test_it_is_the_first_order_change_of_a_loss():
    """Of (g·w)³ at w = (1, 2) with g = (1, 1): gradient 27 for both; a millionth of each removed."""
    score = snip({"w": np.array([1.0, 2.0])}, {"w": np.array([27.0, 27.0])}).scores["w"]
    for j, weight in enumerate((1.0, 2.0)):
        change = (3 - 1e-6 * weight) ** 3 - 27
        assert score[j] == pytest.approx(abs(change) / 1e-6, rel=1e-5), j


def test_tiny_gradients_keep_their_order():
    weights, gradients = (
        {"w": np.full(3, 1e-6, np.float32)},
        np.array([3e-40, 1e-40, 2e-40], dtype=np.float32),
    )
    assert list(np.argsort(snip(weights, {"w": gradients}).scores["w"])) == [1, 2, 0]


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({}, "layer: missing"),
        ({"layer": np.ones((2, 2))}, r"layer: needed shape \[4\], got \[2, 2\]"),
        (STATISTIC | {"more": np.ones(2)}, "more: not among the weights"),
        ({"layer": np.array([1.0, np.nan, np.inf, 1.0])}, "layer: 2 of 4"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(statistics, message):
    with pytest.raises(ObtransferError, match=message):
        snip(WEIGHT, statistics)
