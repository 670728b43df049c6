"""Allocations: exact counts, nested masks, ties."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.errors import ObtransferError
from obtransfer.masks.allocation import global_, uniform, uniform_counts

SHAPES = {"conv": (4, 3, 3, 3), "norm_like": (1,), "linear": (10, 7), "small": (3,)}
SPARSITIES = ["0", "0.1", "0.29", "0.5", "0.7", "0.9", "0.99", "0.999"]


def some_scores(levels=None, seed=0):
    generator = np.random.default_rng(seed)
    scores = {name: generator.random(shape) for name, shape in SHAPES.items()}
    return scores if levels is None else {name: np.floor(score * levels) for name, score in scores.items()}


def removed(mask):
    return {name: int((~layer).sum()) for name, layer in mask.items()}


def test_global_by_hand():
    mask = global_({"a": np.array([[0.1, 0.9]]), "b": np.array([0.2, 0.3])}, "0.5")
    assert mask["a"].tolist() == [[False, True]] and mask["b"].tolist() == [False, True]


def test_uniform_by_hand():
    # a: ⌊0.5 · 4⌋ = 2; b: ⌊0.5 · 3⌋ = 1; ⌊0.5 · 7⌋ = 3: nothing left over.
    mask = uniform({"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array([0.3, 0.1, 0.2])}, 0.5)
    assert mask["a"].tolist() == [False, False, True, True] and mask["b"].tolist() == [True, False, True]


def test_the_remainder_goes_where_the_sparsity_is_smallest_afterwards():
    # ⌊0.5 · 13⌋ = 6, floors 1 + 2 + 2 = 5: one more would give 2/3, 3/5 or 3/5: the first of the two.
    assert uniform_counts({"a": 3, "b": 5, "c": 5}, Fraction(1, 2)) == {"a": 1, "b": 3, "c": 2}


def test_a_layer_of_one_weight_is_the_last_to_be_emptied():
    assert uniform_counts({"one": 1, "big": 101}, Fraction(1, 2)) == {"one": 0, "big": 51}


@pytest.mark.parametrize("allocate", [global_, uniform])
@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("levels", [None, 3, 1])
def test_exactly_the_floor_of_q_p_is_removed(allocate, sparsity, levels):
    """Also with three distinct scores, and with one (all equal)."""
    mask = allocate(some_scores(levels), sparsity)
    size = sum(int(np.prod(shape)) for shape in SHAPES.values())
    assert sum(removed(mask).values()) == int(Fraction(sparsity) * size)
    assert {name: layer.shape for name, layer in mask.items()} == SHAPES
    assert all(layer.dtype == np.bool_ for layer in mask.values())


@pytest.mark.parametrize("allocate", [global_, uniform])
@pytest.mark.parametrize("levels", [None, 3, 1])
def test_masks_of_growing_sparsity_are_nested(allocate, levels):
    scores = some_scores(levels)
    masks = [allocate(scores, f"0.{thousandth:03d}") for thousandth in range(0, 1000, 7)]
    for smaller, larger in pairwise(masks):
        assert all(np.all(smaller[name] >= larger[name]) for name in scores)


def test_global_ties_go_by_layer_and_position():
    mask = global_({"b": np.zeros(2), "a": np.zeros(3)}, "0.6")
    assert mask["b"].tolist() == [False, False] and mask["a"].tolist() == [False, True, True]


def test_global_compares_across_layers_and_uniform_does_not():
    scores = {"low": np.arange(10.0), "high": 100 + np.arange(10.0)}
    assert removed(global_(scores, "0.5")) == {"low": 10, "high": 0}
    assert removed(uniform(scores, "0.5")) == {"low": 5, "high": 5}


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.integers(1, 500), min_size=1, max_size=8), st.integers(0, 999))
def test_uniform_counts_are_exact_and_close(sizes, thousandths):
    fraction = Fraction(thousandths, 1000)
    counts = uniform_counts(sizes, fraction)
    assert sum(counts.values()) == thousandths * sum(sizes.values()) // 1000
    for name, size in sizes.items():
        assert thousandths * size // 1000 <= counts[name] <= size
        assert counts[name] - thousandths * size // 1000 < len(sizes)


def test_scores_may_be_float32_or_mixed_and_are_not_changed():
    scores = {"a": np.array([1, 2], np.float32), "b": np.array([1.5, 0.5], np.float64)}
    before = {name: score.copy() for name, score in scores.items()}
    assert removed(global_(scores, "0.5")) == {"a": 1, "b": 1}
    assert all(np.array_equal(scores[name], before[name]) for name in scores)


@pytest.mark.parametrize("allocate", [global_, uniform])
def test_nan_is_refused_by_name(allocate):
    with pytest.raises(ObtransferError, match=r"got NaN in bad: 1 of 2; worse: 2 of 2$"):
        allocate({"a": np.ones(2), "bad": np.array([np.nan, 1]), "worse": np.full(2, np.nan)}, 0.5)


def test_empty_scores_and_sparsities_out_of_range_are_refused():
    with pytest.raises(ObtransferError, match="at least one layer"):
        global_({}, 0.5)
    with pytest.raises(ObtransferError, match=r"less than 1; got 1\.0"):
        uniform(some_scores(), 1.0)
