"""Erdős-Rényi kernel densities: by hand, against the real-valued solution, exact and nested."""

from fractions import Fraction
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.errors import ObtransferError
from obtransfer.masks.erk import erk, erk_counts

NETWORK = {"conv": (16, 8, 3, 3), "depthwise": (16, 1, 3, 3), "linear": (10, 16), "wide": (100, 64)}
shapes = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    min_size=1,
    max_size=5,
)


def exact_densities(shapes, density):
    """Dense layers are fixed one by one, as in the authors' description, until no density exceeds 1."""
    dense = set()
    while True:
        free = [name for name in shapes if name not in dense]
        left = density * sum(prod(s) for s in shapes.values()) - sum(prod(shapes[name]) for name in dense)
        scale = left / sum(sum(shapes[name]) for name in free) if free else 0
        found = {n: scale * sum(shapes[n]) / prod(shapes[n]) if n in free else Fraction(1) for n in shapes}
        over = {name for name in free if found[name] > 1}
        if not over:
            return found
        dense |= over


def test_linear_and_convolution_by_hand():
    # Sums of dimensions 20 and 4 + 2 + 3 + 3 = 12; 100 + 72 weights; 48 kept: ε = 48 / 32, so 30 and 18.
    counts = erk_counts({"linear": (10, 10), "conv": (4, 2, 3, 3)}, Fraction(124, 172))
    assert counts == {"linear": 70, "conv": 54}


def test_what_a_full_layer_cannot_take_goes_to_the_others():
    # Half of 104 weights stay. Sums 4 and 20: ε = 52 / 24 would give the first 8.7 of 4 weights; so 4 and 48.
    assert erk_counts({"small": (2, 2), "large": (10, 10)}, Fraction(1, 2)) == {"small": 0, "large": 52}


def test_a_remainder_of_equal_claims_goes_to_the_later_layer():
    # 5 of 8 weights stay, of two layers alike: 2 and 3, since of equals the earlier is removed first.
    assert erk_counts({"first": (2, 2), "second": (2, 2)}, Fraction(3, 8)) == {"first": 2, "second": 1}


@settings(deadline=None)
@given(shapes, st.integers(0, 999))
def test_counts_are_exact_and_next_to_the_real_valued_densities(shapes, thousandths):
    sparsity = Fraction(thousandths, 1000)
    counts = erk_counts(shapes, sparsity)
    total = sum(prod(shape) for shape in shapes.values())
    assert sum(counts.values()) == thousandths * total // 1000
    exact = exact_densities(shapes, 1 - Fraction(thousandths * total // 1000, total))
    for name, removed in counts.items():
        assert 0 <= removed <= prod(shapes[name])
        assert abs(prod(shapes[name]) * exact[name] - (prod(shapes[name]) - removed)) < 1 + len(shapes)


@settings(deadline=None)
@given(shapes, st.lists(st.integers(0, 10_000), min_size=2, max_size=6))
def test_counts_never_go_down_when_the_sparsity_goes_up(shapes, levels):
    found = [erk_counts(shapes, Fraction(level, 10_001)) for level in sorted(levels)]
    for lower, higher in pairwise(found):
        assert all(lower[name] <= higher[name] for name in shapes)


@pytest.mark.parametrize("distinct", [None, 3, 1])
def test_masks_are_exact_nested_and_hold_each_layers_best(distinct):
    generator = np.random.default_rng(0)
    scores = {name: generator.random(shape) for name, shape in NETWORK.items()}
    if distinct:
        scores = {name: np.floor(score * distinct) for name, score in scores.items()}
    masks = [erk(scores, f"0.{hundredths:02d}") for hundredths in range(0, 100, 3)]
    total = sum(score.size for score in scores.values())
    for hundredths, mask in zip(range(0, 100, 3), masks, strict=True):
        assert sum(int((~layer).sum()) for layer in mask.values()) == hundredths * total // 100
        for name, layer in mask.items():
            assert layer.shape == NETWORK[name] and layer.dtype == np.bool_
            kept, gone = scores[name][layer], scores[name][~layer]
            assert not kept.size or not gone.size or kept.min() >= gone.max()
    for smaller, larger in pairwise(masks):
        assert all(np.all(smaller[name] >= larger[name]) for name in scores)


def test_what_is_kept_is_one_multiple_of_the_sum_of_the_dimensions():
    """Rounded up: some ε lies in all intervals ((kept - 1) / s, kept / s]."""
    sums = {"conv": 16 + 8 + 3 + 3, "depthwise": 16 + 1 + 3 + 3, "linear": 10 + 16, "wide": 100 + 64}
    mask = erk({name: np.ones(shape) for name, shape in NETWORK.items()}, "0.9")
    kept = {name: int(layer.sum()) for name, layer in mask.items()}
    assert max(Fraction(kept[n] - 1, sums[n]) for n in sums) <= min(Fraction(kept[n], sums[n]) for n in sums)


def test_bad_input_is_refused():
    with pytest.raises(ObtransferError, match="at least one layer"):
        erk({}, "0.5")
    with pytest.raises(ObtransferError, match="got NaN in bad: 1 of 2"):
        erk({"bad": np.array([[np.nan, 1.0]])}, "0.5")
    with pytest.raises(ObtransferError, match="less than 1"):
        erk({"layer": np.ones((2, 2))}, "1")
