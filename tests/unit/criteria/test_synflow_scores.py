"""SynFlow: by hand, and its failures."""

import numpy as np
import pytest
from obtransfer.criteria.synflow import synflow
from obtransfer.errors import ObtransferError

WEIGHT = {"layer": np.array([1.0, -2.0, 3.0, 0.0], dtype=np.float32)}
STATISTIC = {"layer": np.array([2.0, 1.0, 0.5, 5.0], dtype=np.float32)}


def test_four_weights_by_hand():
    np.testing.assert_array_equal(synflow(WEIGHT, STATISTIC).scores["layer"], [2.0, 2.0, 1.5, 0.0])


def test_where_a_norm_makes_the_derivative_negative_its_size_counts():
    statistic = {"layer": -STATISTIC["layer"]}
    np.testing.assert_array_equal(synflow(WEIGHT, statistic).scores["layer"], [2.0, 2.0, 1.5, 0.0])


def test_flow_beyond_float32_keeps_its_order():
    flow = np.array([3e200, 1e200, 2e200])
    score = synflow({"w": np.array([1.0, -1.0, 1.0], dtype=np.float32)}, {"w": flow}).scores["w"]
    np.testing.assert_array_equal(score, flow)


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
        synflow(WEIGHT, statistics)
