"""Exact selection against a full stable sort."""

import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.errors import ObtransferError
from obtransfer.masks import rank
from obtransfer.masks.topk import keep_mask, keep_masks


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


def no_shortcuts(chunk=7, gathered=8):
    """Histograms also where there are few scores, in chunks of a few."""
    return patch.multiple(rank, SMALL=0, CHUNK=chunk, GATHERED=gathered)


DENORMAL = 5e-324
values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, np.inf, -np.inf, DENORMAL, -DENORMAL, 3 * DENORMAL]),
    st.floats(allow_nan=False),
)
floats32 = st.floats(allow_nan=False, width=32)


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=60), st.data())
def test_equals_a_stable_sort(scores, data):
    scores = np.array(scores)
    num_removed = data.draw(st.integers(0, scores.size))
    expected = by_sorting(scores, num_removed)
    np.testing.assert_array_equal(keep_mask(scores, num_removed), expected)
    with no_shortcuts(gathered=data.draw(st.sampled_from([1, 8, 10**9]))):
        np.testing.assert_array_equal(keep_mask(scores, num_removed), expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(floats32, min_size=1, max_size=40), st.data())
def test_float32_equals_a_stable_sort(scores, data):
    scores = np.array(scores, dtype=np.float32)
    num_removed = data.draw(st.integers(0, scores.size))
    with no_shortcuts(gathered=data.draw(st.sampled_from([1, 10**9]))):
        np.testing.assert_array_equal(keep_mask(scores, num_removed), by_sorting(scores, num_removed))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(values, max_size=9), min_size=1, max_size=5), st.data())
def test_layers_together_equal_a_stable_sort_of_all(layers, data):
    layers = [np.array(layer, dtype=np.float64) for layer in layers]
    flat = np.concatenate(layers)
    num_removed = data.draw(st.integers(0, flat.size))
    with no_shortcuts(chunk=data.draw(st.integers(1, 5))):
        masks = keep_masks(layers, num_removed)
    np.testing.assert_array_equal(np.concatenate(masks), by_sorting(flat, num_removed))
    assert [mask.shape for mask in masks] == [layer.shape for layer in layers]


def test_layers_of_any_shape_order_and_precision():
    generator = np.random.default_rng(0)
    layers = [
        generator.random((3, 4, 2)).transpose(2, 0, 1),
        generator.random((5, 5)).astype(np.float32)[:, ::2],
        np.array(0.5),
        np.zeros((0, 3)),
    ]
    flat = np.concatenate([layer.reshape(-1).astype(np.float64) for layer in layers])
    for num_removed in range(flat.size + 1):
        masks = keep_masks(layers, num_removed)
        np.testing.assert_array_equal(
            np.concatenate([m.reshape(-1) for m in masks]), by_sorting(flat, num_removed)
        )
        assert [mask.shape for mask in masks] == [layer.shape for layer in layers]


def many(kind, size):
    scores = np.random.default_rng(0).standard_normal(size)
    return {
        "distinct": lambda: scores,
        "float32": lambda: scores.astype(np.float32),
        "fifty": lambda: np.floor(scores * 10),
        "mostly zero": lambda: np.where(scores > 1, scores, 0.0),
        "mostly removed": lambda: np.where(scores > 1, scores, -np.inf),
        "equal": lambda: np.full(size, -2.5),
        "nearly equal": lambda: 1 + 1e-13 * np.floor(scores * 100),
        "denormal": lambda: np.floor(scores * 1000) * DENORMAL,
    }[kind]()


KINDS = ["distinct", "float32", "fifty", "mostly zero", "mostly removed", "equal", "nearly equal", "denormal"]


@pytest.mark.parametrize("kind", KINDS)
def test_many_values_equal_a_stable_sort(kind):
    scores = many(kind, 200_000)
    order, before = np.argsort(scores, kind="stable"), scores.copy()
    for num_removed in (1, 23_457, 100_000, 199_999):
        expected = np.ones(scores.size, dtype=bool)
        expected[order[:num_removed]] = False
        np.testing.assert_array_equal(keep_mask(scores, num_removed), expected)
        with no_shortcuts(chunk=2**14):
            np.testing.assert_array_equal(keep_mask(scores, num_removed), expected)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["distinct", "fifty", "nearly equal"])
def test_ten_million_values_equal_a_stable_sort(kind):
    scores = many(kind, 10**7)
    order = np.argsort(scores, kind="stable")
    for num_removed in (123_457, 5_000_000, 9_000_000):
        expected = np.ones(scores.size, dtype=bool)
        expected[order[:num_removed]] = False
        np.testing.assert_array_equal(keep_mask(scores, num_removed), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_besides_the_mask_is_less_than_half_the_scores(kind):
    layers = np.split(many(kind, 2**21), 8)
    tracemalloc.start()
    keep_masks(layers, 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    total = sum(layer.nbytes for layer in layers)
    assert peak - 2**21 < 0.5 * total


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_masks_are_nested(scores, data):
    first = data.draw(st.integers(0, len(scores)))
    second = data.draw(st.integers(first, len(scores)))
    scores = np.array(scores, dtype=np.float32)
    assert np.all(keep_mask(scores, first) >= keep_mask(scores, second))


def test_nan_is_refused():
    with pytest.raises(ObtransferError, match="must not be NaN; got 2 of 3"):
        keep_mask(np.array([np.nan, 1.0, np.nan]), 1)


@pytest.mark.parametrize("num_removed", [4, -1])
def test_counts_out_of_range_are_refused(num_removed):
    with pytest.raises(ObtransferError, match=f"between 0 and 3, the number of scores; got {num_removed}"):
        keep_mask(np.zeros(3), num_removed)


def test_a_layer_keeps_its_shape():
    assert keep_mask(np.array([[3.0, 1.0], [2.0, 4.0]]), 2).tolist() == [[True, False], [False, True]]
