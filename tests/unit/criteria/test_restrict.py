"""Blocks of a model some of whose weights are removed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.criteria.obd import obd
from obtransfer.criteria.obs import obs
from obtransfer.curvature.structures.block import restrict
from obtransfer.errors import ObtransferError
from obtransfer.registry import STRUCTURES


def random_blocks(count, size, num_weights, seed):
    generator = np.random.default_rng(seed)
    root = generator.standard_normal((count, size, 2 * size))
    root.reshape(count * size, -1)[num_weights:] = 0
    return root @ root.transpose(0, 2, 1) / root.shape[-1]


def test_two_by_two_by_hand():
    blocks = np.array([[[2.0, 1.0], [1.0, 6.0]], [[4.0, 3.0], [3.0, 8.0]]], dtype=np.float32)
    mask = np.array([[True, False], [False, False]])
    found = restrict({"a": blocks}, {"a": mask})["a"]
    np.testing.assert_array_equal(found, [[[2, 0], [0, 6]], [[6, 0], [0, 6]]])
    assert found.dtype == np.float32
    # Where the removed weights have no curvature, a millionth of the survivors'.
    blocks = np.array([[[2.0, 0.0], [0.0, 0.0]]])
    found = restrict({"a": blocks}, {"a": np.array([True, False])})["a"]
    np.testing.assert_allclose(found, [[[2.0, 0.0], [0.0, 2e-6]]], rtol=1e-12)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 9999), st.sampled_from([0.0, 0.1]))
def test_scores_of_the_survivors_equal_those_of_the_sub_matrix(size, num_weights, seed, damping):
    count = -(-num_weights // size)
    blocks = random_blocks(count, size, num_weights, seed)
    generator = np.random.default_rng(seed)
    mask = generator.random(num_weights) < generator.random()
    weights = np.where(mask, generator.standard_normal(num_weights), 0.0)
    kept = restrict({"a": blocks}, {"a": mask})
    found = obs({"a": weights}, kept, damping=damping, damping_mode="absolute").scores["a"]
    assert not found[~mask].any()
    for index, block in enumerate(blocks):
        part = np.arange(index * size, min(num_weights, (index + 1) * size))
        survivors = part[mask[part]]
        if not survivors.size:
            continue
        own = block[np.ix_(survivors - index * size, survivors - index * size)]
        expected = obs({"a": weights[survivors]}, {"a": own[None]}, damping=damping, damping_mode="absolute")
        np.testing.assert_allclose(found[survivors], expected.scores["a"], rtol=1e-8)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 9999))
def test_a_relative_damping_is_that_of_obd_on_the_same_model(size, num_weights, seed):
    blocks = random_blocks(-(-num_weights // size), size, num_weights, seed)
    mask = np.random.default_rng(seed).random(num_weights) < 0.5
    weights = {"a": np.where(mask, 1.0, 0.0)}
    diagonal = blocks.diagonal(axis1=1, axis2=2).reshape(-1)[:num_weights]
    expected = obd(weights, STRUCTURES["diagonal"].restrict({"a": diagonal}, {"a": mask}), damping=0.1)
    found = obs(weights, restrict({"a": blocks}, {"a": mask}), damping=0.1)
    assert found.details["absolute_damping"]["a"] == pytest.approx(
        expected.details["absolute_damping"]["a"], rel=1e-5
    )


def test_removed_weights_without_curvature_do_not_make_a_block_singular():
    """Not even without damping, nor in a block where nothing is left."""
    blocks = np.stack([np.diag([2.0, 0.0, 0.0]), np.zeros((3, 3))])
    mask = np.array([True, False, False, False, False, False])
    kept = restrict({"a": blocks}, {"a": mask})
    score = obs({"a": np.where(mask, 3.0, 0.0)}, kept, damping=0).scores["a"]
    np.testing.assert_allclose(score, [9.0, 0, 0, 0, 0, 0])


def test_what_is_not_touched_comes_back_as_it_is():
    blocks, mask = random_blocks(2, 4, 7, 0), np.ones(7, dtype=bool)
    assert restrict({"a": blocks}, {"a": mask})["a"] is blocks
    mask[3], before = False, blocks.copy()
    blocks.flags.writeable = False
    found = restrict({"a": blocks}, {"a": mask})["a"]
    np.testing.assert_array_equal(blocks, before)
    np.testing.assert_array_equal(found[1], blocks[1])
    assert found.shape == blocks.shape and found is not blocks
    statistics = {"a:inputs": np.ones((1, 2, 2)), "a:outputs": np.ones((1, 2, 2))}
    for structure in ("diagonal", "per_weight", "kfac", "ekfac"):
        same = STRUCTURES[structure].restrict(statistics, {"a": mask})
        assert all(same[key] is array for key, array in statistics.items())


def test_masks_that_do_not_fit_are_refused():
    blocks = {"a": np.ones((2, 4, 4)), "b": np.ones((1, 4, 4))}
    with pytest.raises(ObtransferError, match="got none for b"):
        restrict(blocks, {"a": np.ones(8, dtype=bool)})
    with pytest.raises(ObtransferError, match="2 blocks of size 4 and a mask of 9 weights for a"):
        restrict(blocks, {"a": np.ones(9, dtype=bool), "b": np.ones(4, dtype=bool)})
