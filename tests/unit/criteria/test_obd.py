"""Diagonal criterion: by hand, against brute force, and its limits."""

import numpy as np
import pytest
from obtransfer.criteria.magnitude import magnitude
from obtransfer.criteria.obd import obd
from obtransfer.errors import ObtransferError

WEIGHT = {"layer": np.array([1.0, -2.0, 3.0, 0.5], dtype=np.float32)}
CURVATURE = {"layer": np.array([2.0, 1.0, 0.0, 5.0], dtype=np.float32)}  # mean 2


def test_four_weights_by_hand():
    np.testing.assert_array_equal(obd(WEIGHT, CURVATURE, damping=0).scores["layer"], [1.0, 2.0, 0.0, 0.625])


def test_relative_and_absolute_damping_by_hand():
    # λ = 0.5 · mean(2, 1, 0, 5) = 1
    relative = obd(WEIGHT, CURVATURE, damping=0.5)
    np.testing.assert_array_equal(relative.scores["layer"], [1.5, 4.0, 4.5, 0.75])
    assert relative.details["absolute_damping"] == {"layer": 1.0}
    absolute = obd(WEIGHT, CURVATURE, damping=1.0, damping_mode="absolute")
    np.testing.assert_array_equal(absolute.scores["layer"], relative.scores["layer"])


def test_relative_damping_uses_each_layers_own_mean():
    weights = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    result = obd(weights, {"a": np.full(2, 4.0), "b": np.full(2, 10.0)}, damping=0.1)
    assert result.details["absolute_damping"] == pytest.approx({"a": 0.4, "b": 1.0})


def test_removing_one_weight_of_a_quadratic_costs_its_score():
    generator = np.random.default_rng(0)
    root = generator.standard_normal((5, 5))
    hessian, weight = root @ root.T, generator.standard_normal(5)
    score = obd({"layer": weight}, {"layer": np.diag(hessian)}, damping=0).scores["layer"]
    for j in range(5):
        step = np.zeros(5)
        step[j] = -weight[j]
        assert score[j] == pytest.approx(0.5 * step @ hessian @ step, rel=1e-12)


def test_large_damping_orders_like_magnitude():
    generator = np.random.default_rng(1)
    weights = {"layer": generator.standard_normal((6, 7)).astype(np.float32)}
    curvature = {"layer": generator.random((6, 7)).astype(np.float32)}
    score = obd(weights, curvature, damping=1e9, damping_mode="absolute").scores["layer"]
    expected = magnitude(weights).scores["layer"]
    np.testing.assert_array_equal(np.argsort(score, axis=None), np.argsort(expected, axis=None))
    assert not np.array_equal(
        np.argsort(obd(weights, curvature, damping=0).scores["layer"], axis=None),
        np.argsort(expected, axis=None),
    )


def test_scores_of_tiny_curvature_keep_their_order():
    weight = np.array([3e-6, 1e-6, 2e-6], dtype=np.float32)
    score = obd({"layer": weight}, {"layer": np.full(3, 1e-30, np.float32)}, damping=0).scores["layer"]
    assert list(np.argsort(score)) == [1, 2, 0]
    np.testing.assert_allclose(score, 0.5e-30 * weight.astype(np.float64) ** 2, rtol=1e-6)


def test_a_layer_without_curvature_scores_zero_and_is_named():
    weights = WEIGHT | {"dead": np.ones(3)}
    result = obd(weights, CURVATURE | {"dead": np.zeros(3)}, damping=0.1)
    np.testing.assert_array_equal(result.scores["dead"], np.zeros(3))
    assert result.details["layers_without_curvature"] == ["dead"]


NEGATIVE = {"layer": np.array([1.0, -2.0, 2.0, 0.0], dtype=np.float32)}


def test_negative_curvature_is_refused_with_its_share_and_what_else_there_is():
    message = r"got 1 of 4 \(25\.0%\) in layer, the smallest -2.*set negative to abs or clip"
    with pytest.raises(ObtransferError, match=message):
        obd(WEIGHT, NEGATIVE, damping=10.0)


@pytest.mark.parametrize(
    ("negative", "score", "damped"),
    # λ is 0.8 of the mean of |h|, 5/4, or of max(h, 0), 3/4.
    [("abs", [0.5, 4.0, 9.0, 0.0], 1.0), ("clip", [0.5, 0.0, 9.0, 0.0], 0.6)],
)
def test_negative_curvature_may_be_bent_or_cut(negative, score, damped):
    result = obd(WEIGHT, NEGATIVE, negative=negative, damping=0)
    np.testing.assert_array_equal(result.scores["layer"], score)
    assert result.details["negative_share"] == {"layer": 0.25} and result.details["negative"] == negative
    relative = obd(WEIGHT, NEGATIVE, damping=0.8, negative=negative)
    assert relative.details["absolute_damping"]["layer"] == pytest.approx(damped)
    expected = score + 0.5 * damped * WEIGHT["layer"].astype(float) ** 2
    np.testing.assert_allclose(relative.scores["layer"], expected, rtol=1e-14)
    assert NEGATIVE["layer"][1] == -2  # the caller's array is as it was


@pytest.mark.parametrize("negative", ["refuse", "abs", "clip"])
def test_without_negative_curvature_the_treatment_changes_nothing(negative):
    result = obd(WEIGHT, CURVATURE, negative=negative, damping=0)
    np.testing.assert_array_equal(result.scores["layer"], [1.0, 2.0, 0.0, 0.625])
    assert result.details["negative_share"] == {"layer": 0.0}


def test_a_layer_that_is_all_cut_is_one_without_curvature():
    result = obd({"layer": np.ones(2)}, {"layer": -np.ones(2)}, damping=0.1, negative="clip")
    assert result.details["layers_without_curvature"] == ["layer"] and not result.scores["layer"].any()


def test_an_unknown_treatment_of_negative_curvature_is_refused():
    with pytest.raises(ObtransferError, match="negative must be one of refuse, abs, clip; got 'square'"):
        obd(WEIGHT, CURVATURE, negative="square", damping=0)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({}, "layer: missing"),
        ({"layer": np.ones((2, 2))}, r"layer: needed shape \[4\], got \[2, 2\]"),
        (CURVATURE | {"more": np.ones(2)}, "more: not among the weights"),
        ({"layer": np.array([1.0, np.nan, np.inf, 1.0])}, "layer: 2 of 4"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(statistics, message):
    with pytest.raises(ObtransferError, match=message):
        obd(WEIGHT, statistics, damping=0)


@pytest.mark.parametrize("damping", [-1.0, float("nan"), float("inf")])
def test_damping_out_of_range_is_refused(damping):
    with pytest.raises(ObtransferError, match="finite damping of at least 0"):
        obd(WEIGHT, CURVATURE, damping=damping)


def test_an_unknown_damping_mode_is_refused():
    with pytest.raises(ObtransferError, match="relative, absolute; got 'percent'"):
        obd(WEIGHT, CURVATURE, damping_mode="percent", damping=0)
