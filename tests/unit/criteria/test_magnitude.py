"""Magnitude: the square of the weight."""

import numpy as np
import pytest
from obtransfer.criteria.magnitude import magnitude
from obtransfer.errors import ObtransferError


def test_four_weights_by_hand():
    result = magnitude({"layer": np.array([1.0, -2.0, 0.0, 0.5], dtype=np.float32)})
    np.testing.assert_array_equal(result.scores["layer"], [0.5, 2.0, 0.0, 0.125])


def test_shape_is_kept_and_the_weights_are_not_changed():
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7
    before = weight.copy()
    score = magnitude({"layer": weight}).scores["layer"]
    assert score.shape == (2, 3, 4) and score.dtype == np.float64
    np.testing.assert_array_equal(weight, before)


def test_the_order_of_nearly_dead_weights_survives():
    weight = np.array([3e-40, 1e-40, 2e-40, 1.0], dtype=np.float32)
    score = magnitude({"layer": weight}).scores["layer"]
    assert list(np.argsort(score)) == [1, 2, 0, 3] and score.min() > 0


def test_what_is_not_finite_is_refused_by_name_and_count():
    bad = np.array([1.0, np.nan, np.inf, 2.0], dtype=np.float32)
    with pytest.raises(ObtransferError, match=r"magnitude.*second: 2 of 4"):
        magnitude({"first": np.ones(3), "second": bad})


def test_no_weights_is_refused():
    with pytest.raises(ObtransferError, match="at least one layer"):
        magnitude({})
    with pytest.raises(ObtransferError, match="empty"):
        magnitude({"empty": np.zeros((0, 3))})
