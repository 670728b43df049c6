"""Exact selection against a full stable sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.errors import ObtransferError
from obtransfer.masks.topk import keep_mask


def by_sorting(scores, num_removed):
    keep = np.ones(scores.size, dtype=bool)
    keep[np.argsort(scores, kind="stable")[:num_removed]] = False
    return keep


def test_by_hand():
    scores = np.array([3.0, 1.0, 2.0, 1.0, 1.0])
    assert keep_mask(scores, 2).tolist() == [True, False, True, False, True]
    assert keep_mask(scores, 4).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("num_removed", [0, 1, 4, 7])
def test_equal_scores_go_by_position_and_never_all_together(num_removed):
    keep = keep_mask(np.zeros(7), num_removed)
    assert keep.tolist() == [False] * num_removed + [True] * (7 - num_removed)


values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, np.inf, -np.inf, 5e-324]), st.floats(allow_nan=False)
)


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=60), st.data())
def test_equals_a_stable_sort(scores, data):
    scores = np.array(scores)
    num_removed = data.draw(st.integers(0, scores.size))
    np.testing.assert_array_equal(keep_mask(scores, num_removed), by_sorting(scores, num_removed))


@pytest.mark.parametrize("kind", ["distinct", "ties"])
def test_a_million_values_equal_a_stable_sort(kind):
    scores = np.random.default_rng(0).random(10**6, dtype=np.float32)
    if kind == "ties":
        scores = np.floor(scores * 50)
    before = scores.copy()
    for num_removed in (1, 123_457, 500_000, 999_999):
        np.testing.assert_array_equal(keep_mask(scores, num_removed), by_sorting(scores, num_removed))
    np.testing.assert_array_equal(scores, before)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_masks_are_nested(scores, data):
    first = data.draw(st.integers(0, len(scores)))
    second = data.draw(st.integers(first, len(scores)))
    scores = np.array(scores, dtype=np.float32)
    assert np.all(keep_mask(scores, first) >= keep_mask(scores, second))


def test_nan_is_refused():
    with pytest.raises(ObtransferError, match="2 of 3 are NaN"):
        keep_mask(np.array([np.nan, 1.0, np.nan]), 1)


@pytest.mark.parametrize(
    ("scores", "num_removed"), [(np.zeros(3), 4), (np.zeros(3), -1), (np.zeros((2, 2)), 1)]
)
def test_counts_and_shapes_out_of_range_are_refused(scores, num_removed):
    with pytest.raises(ObtransferError, match="flat array"):
        keep_mask(scores, num_removed)
