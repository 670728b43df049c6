"""GraSP: by hand, its sign, and its failures."""

import numpy as np
import pytest
from obtransfer.criteria.grasp import grasp
from obtransfer.errors import ObtransferError

WEIGHT = {"layer": np.array([1.0, -2.0, 3.0, 0.0], dtype=np.float32)}
STATISTIC = {"layer": np.array([2.0, 1.0, -0.5, 5.0], dtype=np.float32)}


def test_four_weights_by_hand():
    result = grasp(WEIGHT, STATISTIC)
    np.testing.assert_array_equal(result.scores["layer"], [2.0, -2.0, -1.5, 0.0])
    assert result.details["negative_share"] == {"layer": 0.5}


def test_its_sign_on_a_quadratic():
    """½ wᵀ H w has the gradient H w; its norm is largest without the weight of the lowest score."""
    hessian, weight = np.array([[2.0, -1.0], [-1.0, 1.0]]), np.array([1.0, 1.2])
    gradient = hessian @ weight
    score = grasp({"w": weight}, {"w": hessian @ gradient}).scores["w"]
    fraction, norms = 1e-6, []
    for j in range(2):
        smaller = weight - fraction * weight[j] * np.eye(2)[j]
        norms.append(np.sum((hessian @ smaller) ** 2) - np.sum(gradient**2))
    np.testing.assert_allclose(norms, -2 * fraction * score, rtol=1e-4)
    assert score[0] * score[1] < 0 and np.argmin(score) == np.argmax(norms)


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
        grasp(WEIGHT, statistics)
