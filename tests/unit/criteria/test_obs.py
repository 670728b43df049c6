"""Block criterion: by hand, against brute force, against `obd`, and its failures."""

import re

import numpy as np
import pytest
from obtransfer.criteria import blocks as blocks_module
from obtransfer.criteria.magnitude import magnitude
from obtransfer.criteria.obd import obd
from obtransfer.criteria.obs import obs
from obtransfer.errors import ObtransferError


def random_blocks(num_weights, size, seed=0, rank=None):
    """Positive (semi-)definite blocks [ceil(n/B), B, B] with the padding of the last one set to zero."""
    generator = np.random.default_rng(seed)
    count = -(-num_weights // size)
    root = generator.standard_normal((count, size, rank or 2 * size))
    root.reshape(count * size, -1)[num_weights:] = 0
    return root @ root.transpose(0, 2, 1) / root.shape[-1]


def test_four_weights_by_hand():
    # Block [[2, 1], [1, 2]] has the inverse diagonal 2/3, 2/3; block diag(1, 4) has 1, 1/4.
    blocks = np.array([[[2.0, 1.0], [1.0, 2.0]], [[1.0, 0.0], [0.0, 4.0]]], dtype=np.float32)
    weight = np.array([[1.0, -2.0], [1.0, 3.0]], dtype=np.float32)
    score = obs({"layer": weight}, {"layer": blocks}, damping=0).scores["layer"]
    np.testing.assert_allclose(score, [[0.75, 3.0], [0.5, 18.0]], rtol=1e-14)


def test_damping_by_hand():
    # Mean diagonal 2, λ = 0.5 · 2 = 1: [[3, 1], [1, 3]] has the inverse diagonal 3/8.
    blocks = np.array([[[2.0, 1.0], [1.0, 2.0]]])
    result = obs({"layer": np.ones(2)}, {"layer": blocks}, damping=0.5)
    np.testing.assert_allclose(result.scores["layer"], [4 / 3, 4 / 3], rtol=1e-14)
    assert result.details["absolute_damping"] == {"layer": 1.0} and result.details["block_size"] == {
        "layer": 2
    }
    absolute = obs({"layer": np.ones(2)}, {"layer": blocks}, damping=1.0, damping_mode="absolute")
    np.testing.assert_array_equal(absolute.scores["layer"], result.scores["layer"])


def test_the_score_is_the_loss_after_the_others_have_made_up_for_it():
    """Minimise ½ δᵀ H δ over all δ with δ_j = -w_j by solving for the free entries; H is not inverted."""
    hessian, weight = random_blocks(6, 6)[0], np.random.default_rng(3).standard_normal(6)
    score = obs({"layer": weight}, {"layer": hessian[None]}, damping=0).scores["layer"]
    for j in range(6):
        others = np.delete(np.arange(6), j)
        step = np.empty(6)
        step[j] = -weight[j]
        step[others] = np.linalg.solve(hessian[np.ix_(others, others)], -hessian[others, j] * step[j])
        assert score[j] == pytest.approx(0.5 * step @ hessian @ step, rel=1e-10)


@pytest.mark.parametrize("damping", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("mode", ["relative", "absolute"])
def test_blocks_of_one_weight_equal_obd(damping, mode):
    generator = np.random.default_rng(2)
    weights = {"layer": generator.standard_normal((3, 5)).astype(np.float32)}
    diagonal = generator.random((3, 5)).astype(np.float32)
    expected = obd(weights, {"layer": diagonal}, damping=damping, damping_mode=mode)
    blocks = {"layer": diagonal.reshape(-1, 1, 1)}
    found = obs(weights, blocks, damping=damping, damping_mode=mode)
    np.testing.assert_allclose(found.scores["layer"], expected.scores["layer"], rtol=1e-13)
    assert found.details["absolute_damping"] == pytest.approx(expected.details["absolute_damping"])


def test_larger_blocks_never_score_higher():
    weights = {"layer": np.random.default_rng(4).standard_normal(32)}
    whole = random_blocks(32, 32)
    halves = np.stack([whole[0, :16, :16], whole[0, 16:, 16:]])
    small = obs(weights, {"layer": halves}, damping=0).scores["layer"]
    assert np.all(obs(weights, {"layer": whole}, damping=0).scores["layer"] < small)


def test_large_damping_orders_like_magnitude():
    weights = {"layer": np.random.default_rng(5).standard_normal(48)}
    blocks = {"layer": random_blocks(48, 16)}
    score = obs(weights, blocks, damping=1e9, damping_mode="absolute").scores["layer"]
    expected = np.argsort(magnitude(weights).scores["layer"])
    np.testing.assert_array_equal(np.argsort(score), expected)
    assert not np.array_equal(np.argsort(obs(weights, blocks, damping=0.1).scores["layer"]), expected)


@pytest.mark.parametrize("num_weights", [1, 7, 8, 9, 13])
def test_padding_does_not_matter(num_weights):
    """Neither for the mean diagonal nor for the inverse, whatever the padding holds, even without damping."""
    weights = {"layer": np.random.default_rng(6).standard_normal(num_weights)}
    padded = random_blocks(num_weights, 8)
    garbage = padded.copy()
    rest = num_weights - (len(padded) - 1) * 8
    garbage[-1, rest:] = 1e6
    garbage[-1, :, rest:] = -1e6
    reals = [block[:8, :8] for block in padded[:-1]] + [padded[-1, :rest, :rest]]
    expected = np.concatenate([np.diag(np.linalg.inv(real)) for real in reals])
    for blocks in (padded, garbage):
        result = obs(weights, {"layer": blocks}, damping=0)
        np.testing.assert_allclose(result.scores["layer"], 0.5 * weights["layer"] ** 2 / expected, rtol=1e-9)
    details = [obs(weights, {"layer": blocks}, damping=0.1).details for blocks in (padded, garbage)]
    mean = np.concatenate([np.diag(block) for block in padded])[:num_weights].mean()
    assert details[0] == details[1] and details[0]["absolute_damping"]["layer"] == pytest.approx(0.1 * mean)


def test_chunks_do_not_matter(monkeypatch):
    weights, blocks = {"layer": np.ones(45)}, {"layer": random_blocks(45, 4)}
    expected = obs(weights, blocks, damping=0.1).scores["layer"]
    for entries in (1, 16, 48, 100):
        monkeypatch.setattr(blocks_module, "ENTRIES_AT_ONCE", entries)
        found = obs(weights, blocks, damping=0.1).scores["layer"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_inputs_are_not_changed():
    weights, blocks = {"layer": np.ones(13)}, {"layer": random_blocks(13, 4)}
    before = blocks["layer"].copy()
    blocks["layer"].flags.writeable = False
    obs(weights, blocks, damping=0.1)
    np.testing.assert_array_equal(blocks["layer"], before)


def test_scores_of_tiny_curvature_keep_their_order():
    blocks = {"layer": (random_blocks(10, 4) * 1e-30).astype(np.float32)}
    weights = {"layer": np.linspace(1e-6, 2e-6, 10, dtype=np.float32)}
    small = obs(weights, blocks, damping=0.1).scores["layer"]
    large = obs(weights, {"layer": blocks["layer"].astype(np.float64) * 1e30}, damping=0.1).scores["layer"]
    np.testing.assert_allclose(small * 1e30, large, rtol=1e-10)
    np.testing.assert_array_equal(np.argsort(small), np.argsort(large))


def test_a_block_without_curvature_beside_a_tiny_one():
    """A zero block gets ½ w² λ, also as the padded last one, and however small the layer's curvature is."""
    blocks = random_blocks(6, 4) * 1e-30
    blocks[-1] = 0
    result = obs({"layer": np.ones(6)}, {"layer": blocks}, damping=0.1)
    expected = 0.5 * result.details["absolute_damping"]["layer"]
    np.testing.assert_allclose(result.scores["layer"][4:], expected, rtol=1e-12)


def test_a_layer_without_curvature_has_the_scores_of_the_limit():
    weights, blocks = {"dead": np.array([1.0, 2.0])}, {"dead": np.zeros((1, 2, 2))}
    relative = obs(weights, blocks, damping=0.1)
    np.testing.assert_array_equal(relative.scores["dead"], [0.0, 0.0])
    assert relative.details["layers_without_curvature"] == ["dead"]
    absolute = obs(weights, blocks, damping=0.5, damping_mode="absolute")
    np.testing.assert_array_equal(absolute.scores["dead"], [0.25, 1.0])


def smallest_pivot(block):
    """Gaussian elimination by hand, up to the first pivot that is not positive."""
    block, pivots = block.copy(), []
    for j in range(len(block)):
        pivots.append(block[j, j])
        if pivots[-1] <= 0:
            break
        block[j + 1 :, j + 1 :] -= np.outer(block[j + 1 :, j], block[j, j + 1 :]) / block[j, j]
    return min(pivots)


@pytest.mark.parametrize("size", [8, 40])  # side by side, and one by one
@pytest.mark.parametrize("kind", ["singular", "indefinite"])
def test_a_failed_cholesky_names_block_and_pivot_and_offers_a_damping_that_does(kind, size):
    blocks = random_blocks(5 * size, size)
    blocks[3] = random_blocks(size, size, rank=3)[0]
    if kind == "indefinite":
        blocks[3] -= 0.01 * np.eye(size)
    weights = {"fine": np.ones(4), "layer": np.ones(5 * size)}
    statistics = {"fine": random_blocks(4, 4), "layer": blocks}
    pattern = rf"got 1 of 5 blocks of size {size} in layer that are not, with λ = 0 \(block 3 "
    with pytest.raises(ObtransferError, match=pattern) as caught:
        obs(weights, statistics, damping=0)
    found = re.search(r"pivot, (\S+)\); .* damping to (\S+) \(absolute\) or (\S+) \(rel", str(caught.value))
    pivot, absolute, relative = (float(text) for text in found.groups())
    assert pivot == pytest.approx(smallest_pivot(blocks[3]), rel=0.01, abs=1e-10)
    assert (pivot < -0.001) is (kind == "indefinite")
    obs(weights, statistics, damping=absolute, damping_mode="absolute")
    obs(weights, statistics, damping=relative, damping_mode="relative")
    if kind == "indefinite":
        with pytest.raises(ObtransferError, match=r"with λ = 0\.009 \(block 3 has"):
            obs(weights, statistics, damping=0.009, damping_mode="absolute")


def test_of_several_blocks_the_one_with_the_smallest_pivot_is_named():
    blocks = np.stack([np.eye(2), np.diag([1.0, 0.0]), [[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.5], [1.5, 1.0]]])
    with pytest.raises(ObtransferError, match=r"3 of 4 blocks .*block 2 has the smallest pivot, -3\)"):
        obs({"layer": np.ones(8)}, {"layer": blocks}, damping=0)


def test_a_block_that_is_singular_but_for_rounding_is_refused():
    """Its Cholesky factor exists, with a pivot of 2e-16 that means nothing."""
    block = np.array([[1.0, 1.0], [1.0, np.nextafter(1.0, 2.0)]])
    np.linalg.cholesky(block)
    with pytest.raises(ObtransferError, match=r"block 0 has the smallest pivot, 2\.22e-16"):
        obs({"layer": np.ones(2)}, {"layer": block[None]}, damping=0)


def test_an_empty_block_needs_damping():
    blocks = {"layer": np.stack([np.eye(2), np.zeros((2, 2))])}
    with pytest.raises(ObtransferError, match=r"block 1 has the smallest pivot, 0\); .* damping to 1e-06"):
        obs({"layer": np.ones(4)}, blocks, damping=0)
    assert obs({"layer": np.ones(4)}, blocks, damping=1e-6, damping_mode="absolute").scores["layer"][3] > 0


@pytest.mark.parametrize("damping", [-1.0, float("nan"), float("inf")])
def test_damping_out_of_range_is_refused(damping):
    with pytest.raises(ObtransferError, match="finite damping of at least 0"):
        obs({"layer": np.ones(2)}, {"layer": np.eye(2)[None]}, damping=damping)


@pytest.mark.parametrize("size", [1, 2, 16, 31, 32, 33, 100])
def test_every_size_equals_the_inverse(size):
    """Of both ways of inverting, in float32 too."""
    blocks = random_blocks(3 * size, size).astype(np.float32)
    weights = {"layer": np.random.default_rng(size).standard_normal(3 * size)}
    score = obs(weights, {"layer": blocks}, damping=0.1, damping_mode="absolute").scores["layer"]
    inverse = np.linalg.inv(blocks.astype(np.float64) + 0.1 * np.eye(size)).diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(score, 0.5 * weights["layer"] ** 2 / inverse.reshape(-1), rtol=1e-9)


def test_only_the_lower_triangle_is_read():
    for size in (4, 40):
        blocks = random_blocks(2 * size, size)
        expected = obs({"layer": np.ones(2 * size)}, {"layer": blocks}, damping=0).scores["layer"]
        blocks[:, *np.triu_indices(size, 1)] = 1e3
        found = obs({"layer": np.ones(2 * size)}, {"layer": blocks}, damping=0).scores["layer"]
        np.testing.assert_array_equal(found, expected)


def test_negative_curvature_is_refused_with_its_share():
    blocks = random_blocks(4, 2)
    blocks[1, 0, 0] = -1
    with pytest.raises(ObtransferError, match=r"got 1 of 4 \(25\.0%\) in layer"):
        obs({"layer": np.ones(4)}, {"layer": blocks}, damping=100.0)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({}, "layer: missing"),
        ({"layer": np.ones(6)}, r"layer: needed shape \[ceil\(6 / B\), B, B\], got \[6\]"),
        ({"layer": np.ones((1, 4, 4))}, r"got \[1, 4, 4\]"),
        ({"layer": np.ones((2, 4, 3))}, r"got \[2, 4, 3\]"),
        ({"layer": np.full((2, 4, 4), np.nan)}, "layer: 32 of 32"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(statistics, message):
    with pytest.raises(ObtransferError, match=message):
        obs({"layer": np.ones(6)}, statistics, damping=0)
