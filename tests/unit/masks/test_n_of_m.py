"""n of m along the inputs: by hand, by a plain loop, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.errors import ObtransferError
from obtransfer.masks.n_of_m import dense_layers, keep_n_of_m, n_of_4, n_of_8, n_of_16


def by_loops(scores, removed, m):
    """Group by group; of equal scores the earlier goes first."""
    keep = np.ones(scores.shape, dtype=bool)
    for place in np.ndindex(scores.shape[0], *scores.shape[2:]):
        for start in range(0, scores.shape[1], m):
            group = [(scores[(place[0], start + i, *place[1:])], i) for i in range(m)]
            for _, i in sorted(group)[:removed]:
                keep[(place[0], start + i, *place[1:])] = False
    return keep


def test_two_of_four_by_hand():
    scores = np.array([[4.0, 1.0, 3.0, 2.0, 7.0, 7.0, 7.0, 7.0]])
    assert n_of_4({"layer": scores}, "0.5")["layer"].tolist() == [[1, 0, 1, 0, 0, 0, 1, 1]]


def test_groups_of_a_convolution_are_inputs_at_one_kernel_position():
    scores = np.zeros((1, 4, 1, 2))
    scores[0, :, 0, 0], scores[0, :, 0, 1] = [1, 2, 3, 4], [4, 3, 2, 1]
    keep = n_of_4({"layer": scores}, "0.75")["layer"]
    assert keep[0, :, 0, 0].tolist() == [0, 0, 0, 1] and keep[0, :, 0, 1].tolist() == [1, 0, 0, 0]


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([4, 8, 16]),
    st.integers(0, 99),
    st.data(),
)
def test_equals_a_plain_loop(sizes, m, seed, data):
    outputs, groups, kernel = sizes
    scores = np.random.default_rng(seed).integers(0, 5, (outputs, groups * m, kernel, kernel)).astype(float)
    removed = data.draw(st.integers(0, m - 1))
    keep = keep_n_of_m({"layer": scores}, removed / m, m)["layer"]
    np.testing.assert_array_equal(keep, by_loops(scores, removed, m))


@pytest.mark.parametrize(("allocate", "m"), [(n_of_4, 4), (n_of_8, 8), (n_of_16, 16)])
def test_every_group_keeps_as_many_and_masks_are_nested(allocate, m):
    scores = {"layer": np.floor(np.random.default_rng(0).random((6, 32, 3, 3)) * 4)}
    masks = [allocate(scores, removed / m)["layer"] for removed in range(m)]
    for removed, mask in enumerate(masks):
        counts = mask.reshape(6, -1, m, 9).sum(axis=2)
        np.testing.assert_array_equal(counts, m - removed)
    assert all(np.all(smaller >= larger) for smaller, larger in pairwise(masks))


def test_layers_without_whole_groups_stay_dense_and_are_named():
    shapes = {"stem": (8, 3, 3, 3), "depthwise": (8, 1, 3, 3), "linear": (5, 8), "odd": (5, 6), "flat": (8,)}
    scores = {name: np.ones(shape) for name, shape in shapes.items()}
    dense = dense_layers(shapes, 4)
    assert dense == ["stem", "depthwise", "odd", "flat"]
    mask = n_of_4(scores, "0.5")
    assert list(mask) == list(shapes) and all(mask[name].all() for name in dense)
    assert mask["linear"].sum() == 20


@pytest.mark.parametrize(("allocate", "m"), [(n_of_4, 4), (n_of_8, 8), (n_of_16, 16)])
def test_a_sparsity_without_a_whole_number_lists_the_possible_ones(allocate, m):
    with pytest.raises(ObtransferError, match="must be one of 0, ") as caught:
        allocate({"layer": np.ones((2, 16))}, "0.7")
    listed = str(caught.value).partition("one of ")[2].partition("; got 0.7")[0].split(", ")
    assert len(listed) == m
    for removed, text in enumerate(listed):
        assert (~allocate({"layer": np.ones((2, 16))}, text)["layer"]).sum() == 32 * removed // m


def test_no_layer_with_whole_groups_is_refused():
    with pytest.raises(ObtransferError, match=r"multiple of 8; got none among stem, linear"):
        n_of_8({"stem": np.ones((8, 3, 3, 3)), "linear": np.ones((8, 4))}, "0.5")


def test_nan_and_no_scores_are_refused():
    with pytest.raises(ObtransferError, match="got NaN in layer: 1 of 4"):
        n_of_4({"layer": np.array([[1.0, np.nan, 1.0, 1.0]])}, "0.5")
    with pytest.raises(ObtransferError, match="at least one layer"):
        n_of_4({}, "0.5")
