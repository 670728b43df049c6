"""Path eXclusion: by hand, and its failures."""

import numpy as np
import pytest
from obtransfer.criteria.px import px
from obtransfer.errors import ObtransferError

WEIGHT = {"layer": np.array([1.0, -2.0, 3.0, 0.0], dtype=np.float32)}
STATISTIC = {"layer": np.array([2.0, 1.0, 0.5, 5.0], dtype=np.float32)}


def test_four_weights_by_hand():
    np.testing.assert_array_equal(px(WEIGHT, STATISTIC).scores["layer"], [2.0, 4.0, 4.5, 0.0])


def test_values_beyond_float32_keep_their_order():
    statistic = np.array([3e200, 1e200, 2e-200])
    score = px({"w": np.array([1e-3, -2e-3, 1.0], dtype=np.float32)}, {"w": statistic}).scores["w"]
    np.testing.assert_allclose(score, [3e194, 4e194, 2e-200], rtol=1e-6)


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
        px(WEIGHT, statistics)
