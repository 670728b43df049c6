"""The joint OBS update against brute force on quadratics."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.criteria.obd import obd
from obtransfer.criteria.obs import obs
from obtransfer.errors import ObtransferError
from obtransfer.masks.update import joint_update


def random_block(generator, size, num_vectors=None):
    root = generator.standard_normal((size, num_vectors or 2 * size))
    return root @ root.T / root.shape[1]


def loss(hessian, step):
    return 0.5 * step @ hessian @ step


def constrained_minimum(hessian, weights, removed):
    """Lagrange multipliers: [H E; Eᵀ 0] (δ, μ) = (0, -w_R), one system for step and multipliers."""
    size, count = len(weights), len(removed)
    system = np.zeros((size + count, size + count))
    system[:size, :size] = hessian
    system[removed, size + np.arange(count)] = system[size + np.arange(count), removed] = 1
    right = np.concatenate([np.zeros(size), -weights[removed]])
    return np.linalg.solve(system, right)[:size]


def update_one(weights, keep, block, damping=0.0):
    return joint_update({"a": weights}, {"a": keep}, {"a": block[None]}, {"a": damping})["a"]


def test_four_weights_by_hand():
    # H = [[2, 1], [1, 2]] in both blocks. Removing the second of (1, 3) moves the first by H_12 w_2 / H_11 =
    # 3/2. Removing both of the second block leaves nothing to move.
    block = np.array([[2.0, 1.0], [1.0, 2.0]], dtype=np.float32)
    weights = np.array([[1.0, 3.0], [5.0, 7.0]], dtype=np.float32)
    keep = np.array([[True, False], [False, False]])
    updated = joint_update({"a": weights}, {"a": keep}, {"a": np.stack([block] * 2)}, {"a": 0.0})["a"]
    np.testing.assert_array_equal(updated, [[2.5, 0.0], [0.0, 0.0]])
    assert updated.dtype == np.float32
    # λ = 1: 3 · 1 / 3.
    damped = joint_update({"a": weights}, {"a": keep}, {"a": np.stack([block] * 2)}, {"a": 1.0})["a"]
    np.testing.assert_array_equal(damped, [[2.0, 0.0], [0.0, 0.0]])


quadratics = st.tuples(
    st.integers(1, 12), st.integers(1, 20), st.integers(0, 10_000), st.sampled_from([1e-3, 0.1, 1.0])
)


@settings(deadline=None)
@given(quadratics)
def test_equals_the_constrained_minimum_and_is_never_above_plain_removal(quadratic):
    size, num_vectors, seed, damping = quadratic
    generator = np.random.default_rng(seed)
    block, weights = random_block(generator, size, num_vectors), generator.standard_normal(size)
    keep = generator.random(size) < generator.random()
    damped = block + damping * np.eye(size)
    step = update_one(weights, keep, block, damping) - weights
    plain = np.where(keep, 0.0, -weights)
    assert loss(damped, step) <= loss(damped, plain) * (1 + 1e-12)
    if keep.all():
        assert not step.any()
        return
    expected = constrained_minimum(damped, weights, np.flatnonzero(~keep))
    np.testing.assert_allclose(step, expected, atol=1e-9 * np.abs(weights).max(), rtol=1e-6)
    np.testing.assert_array_equal(step[~keep], -weights[~keep])


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 8), st.integers(1, 40), st.integers(0, 10_000))
def test_float32_layers_of_several_blocks_with_padding_are_never_above_plain_removal(size, count, seed):
    """Up to the rounding of the result to float32."""
    generator = np.random.default_rng(seed)
    num_blocks = -(-count // size)
    blocks = np.stack([random_block(generator, size) for _ in range(num_blocks)]).astype(np.float32)
    real = np.arange(num_blocks * size).reshape(num_blocks, size) < count
    blocks[~(real[:, :, None] & real[:, None, :])] = 7.0  # padding is never read
    weights = generator.standard_normal(count).astype(np.float32)
    keep = generator.random(count) < 0.5
    updated = joint_update({"a": weights}, {"a": keep}, {"a": blocks}, {"a": 0.05})["a"]
    assert not updated[~keep].any() and updated.dtype == np.float32
    for index, block in enumerate(blocks):
        part = slice(index * size, min(count, (index + 1) * size))
        rest = part.stop - part.start
        damped = block[:rest, :rest].astype(np.float64) + 0.05 * np.eye(rest)
        step = updated[part].astype(np.float64) - weights[part]
        plain = loss(damped, np.where(keep[part], 0.0, -weights[part].astype(np.float64)))
        assert loss(damped, step) <= plain * (1 + 1e-6)
        if keep[part].all():
            np.testing.assert_array_equal(updated[part], weights[part])


def test_beats_the_sum_of_single_updates_which_can_be_worse_than_none():
    generator = np.random.default_rng(5)
    block, weights = random_block(generator, 16, 20), generator.standard_normal(16)
    keep = np.arange(16) < 3
    inverse = np.linalg.inv(block)
    summed = np.zeros(16)
    for j in np.flatnonzero(~keep):
        summed -= weights[j] / inverse[j, j] * inverse[:, j]
    summed[~keep] = -weights[~keep]
    plain = np.where(keep, 0.0, -weights)
    joint = update_one(weights, keep, block) - weights
    assert loss(block, joint) < loss(block, plain) < loss(block, summed)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_single_removal_is_that_of_the_lowest_obs_score(seed):
    generator = np.random.default_rng(seed)
    block, weights = random_block(generator, 7), generator.standard_normal(7)
    score = obs({"a": weights}, {"a": block[None]}, damping=0).scores["a"]
    costs = []
    for j in range(7):
        keep = np.arange(7) != j
        costs.append(loss(block, update_one(weights, keep, block) - weights))
    np.testing.assert_allclose(score, costs, rtol=1e-9)
    true = [loss(block, constrained_minimum(block, weights, np.array([j]))) for j in range(7)]
    assert np.argmin(score) == np.argmin(true)


@pytest.mark.parametrize("seed", range(5))
def test_on_a_diagonal_quadratic_obd_picks_the_best_of_all_subsets(seed):
    generator = np.random.default_rng(seed)
    diagonal, weights = generator.random(8), generator.standard_normal(8)
    lowest = np.argsort(obd({"a": weights}, {"a": diagonal}, damping=0).scores["a"])
    for count in range(1, 8):
        costs = {
            chosen: loss(np.diag(diagonal), np.where(np.isin(np.arange(8), chosen), -weights, 0.0))
            for chosen in combinations(range(8), count)
        }
        assert set(min(costs, key=costs.__getitem__)) == set(lowest[:count])


@pytest.mark.parametrize("seed", range(3))
def test_for_every_subset_the_update_reaches_the_true_optimum(seed):
    """All 62 proper subsets of six weights; no random step on the survivors does better."""
    generator = np.random.default_rng(seed)
    block, weights = random_block(generator, 6), generator.standard_normal(6)
    for count in range(1, 6):
        for chosen in combinations(range(6), count):
            keep = ~np.isin(np.arange(6), chosen)
            step = update_one(weights, keep, block) - weights
            best = constrained_minimum(block, weights, np.array(chosen))
            assert loss(block, step) == pytest.approx(loss(block, best), rel=1e-10)
            for size in (1e-3, 1.0):
                other = step + np.where(keep, size * generator.standard_normal(6), 0.0)
                assert loss(block, other) > loss(block, step)


def test_zero_curvature_moves_nothing_and_needs_no_damping():
    weights, keep = np.array([1.0, 2.0]), np.array([True, False])
    np.testing.assert_array_equal(update_one(weights, keep, np.zeros((2, 2))), [1.0, 0.0])


def test_inputs_are_not_changed():
    generator = np.random.default_rng(0)
    weights, block = generator.standard_normal(4), random_block(generator, 4)
    keep = np.array([True, False, True, True])
    for array in (weights, block, keep):
        array.flags.writeable = False
    before = weights.copy(), block.copy()
    update_one(weights, keep, block, 0.1)
    np.testing.assert_array_equal(weights, before[0])
    np.testing.assert_array_equal(block, before[1])


@pytest.mark.parametrize("size", [5, 40])  # together, and one by one
def test_singular_survivors_are_refused_by_name(size):
    blocks = np.stack([np.eye(size), np.ones((size, size))])
    keep = np.ones(2 * size, dtype=bool)
    keep[[0, size]] = False
    message = rf"got a pivot of 0 in layer block 1 of 2 \(size {size}\) with .* λ = 0;"
    with pytest.raises(ObtransferError, match=message):
        joint_update({"layer": np.ones(2 * size)}, {"layer": keep}, {"layer": blocks}, {"layer": 0.0})


@pytest.mark.parametrize("size", [1, 16, 31, 32, 33, 70])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_many_blocks_of_every_size_equal_the_constrained_minimum(size, share):
    generator = np.random.default_rng(size)
    count = 5 * size - size // 2
    blocks = np.stack([random_block(generator, size) for _ in range(5)])
    weights, keep = generator.standard_normal(count), generator.random(count) >= share
    updated = joint_update({"a": weights}, {"a": keep}, {"a": blocks}, {"a": 0.01})["a"]
    for index, block in enumerate(blocks):
        part = slice(index * size, min(count, (index + 1) * size))
        rest = part.stop - part.start
        damped = block[:rest, :rest] + 0.01 * np.eye(rest)
        expected = weights[part] + constrained_minimum(damped, weights[part], np.flatnonzero(~keep[part]))
        expected[~keep[part]] = 0.0
        np.testing.assert_allclose(updated[part], expected, rtol=1e-8, atol=1e-8)


def test_everything_that_does_not_fit_is_listed():
    weights = {name: np.ones(4) for name in ("none", "mask", "blocks", "negative")}
    keep = {"mask": np.ones(4), "blocks": np.ones(4, bool), "negative": np.ones(4, bool)}
    blocks = {"mask": np.ones((2, 2, 2)), "blocks": np.ones((3, 2, 2)), "negative": np.ones((1, 4, 4))}
    damping = {"mask": 0.0, "blocks": 0.1, "negative": -1.0}
    with pytest.raises(ObtransferError) as caught:
        joint_update(weights, keep, blocks, damping)
    for problem in (
        "none: no mask and no blocks and no λ",
        "mask: mask float64 [4], weight [4]",
        "blocks: blocks [3, 2, 2] for 4 weights",
        "negative: λ = -1.0",
    ):
        assert problem in str(caught.value)
