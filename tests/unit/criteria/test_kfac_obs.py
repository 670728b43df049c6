"""Kronecker-factored criterion: by hand, against dense matrices, and its failures."""

import re

import numpy as np
import pytest
from obtransfer.criteria.kfac_obs import kfac_obs
from obtransfer.criteria.obs import obs
from obtransfer.errors import ObtransferError


def definite(generator, count, size, rank=None):
    root = generator.standard_normal((count, size, rank or 2 * size))
    return root @ root.transpose(0, 2, 1) / root.shape[-1]


def random_layer(groups=1, outputs=3, inputs=(2, 2), seed=0):
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((groups * outputs, *inputs))
    factors = {
        "a:inputs": definite(generator, groups, int(np.prod(inputs))),
        "a:outputs": definite(generator, groups, outputs),
    }
    return {"a": weight}, factors


def corrected(factors, seed=1):
    """Eigenvectors of the factors with other eigenvalues than products of theirs."""
    eigenvalues = np.random.default_rng(seed).random(
        (len(factors["a:outputs"]), factors["a:outputs"].shape[1], factors["a:inputs"].shape[1])
    )
    return {
        "a:input_basis": np.linalg.eigh(factors["a:inputs"]).eigenvectors,
        "a:output_basis": np.linalg.eigh(factors["a:outputs"]).eigenvectors,
        "a:eigenvalues": eigenvalues + 0.01,
    }


def test_four_weights_by_hand():
    # A = diag(1, 4), Γ = [[2, 1], [1, 2]]: A⁻¹ has the diagonal 1, 1/4, and Γ⁻¹ 2/3, 2/3.
    # The score is ½ w² · (1, 4) · 3/2.
    factors = {"a:inputs": np.diag([1.0, 4.0])[None], "a:outputs": np.array([[[2.0, 1.0], [1.0, 2.0]]])}
    weight = np.array([[1.0, -2.0], [2.0, 1.0]], dtype=np.float32)
    result = kfac_obs({"a": weight}, factors, damping=0)
    np.testing.assert_allclose(result.scores["a"], [[0.75, 12.0], [3.0, 3.0]], rtol=1e-14)
    assert result.details["absolute_damping"] == {"a": 0.0} and result.details["structure"] == "kfac"


def test_damping_by_hand():
    # Mean diagonals 8 and 2, r = 1/4: λ = 4, π = 2, so A gets 4 (half its mean) and Γ gets 1 (half its mean):
    # [[12, 4], [4, 12]]⁻¹ has the diagonal 12/128, [[3, 1], [1, 3]]⁻¹ 3/8.
    factors = {
        "a:inputs": np.array([[[8.0, 4.0], [4.0, 8.0]]]),
        "a:outputs": np.array([[[2.0, 1.0], [1.0, 2.0]]]),
    }
    relative = kfac_obs({"a": np.ones((2, 2))}, factors, damping=0.25)
    np.testing.assert_allclose(relative.scores["a"], np.full((2, 2), 0.5 * 128 / 12 * 8 / 3), rtol=1e-14)
    assert relative.details["absolute_damping"] == {"a": 4.0}
    absolute = kfac_obs({"a": np.ones((2, 2))}, factors, damping=4.0, damping_mode="absolute")
    np.testing.assert_array_equal(absolute.scores["a"], relative.scores["a"])


def dense_inverse(factors, group, damping):
    """Of the damped factors' Kronecker product, in the order of the weight: outputs slow, inputs fast."""
    inputs, outputs = factors["a:inputs"][group], factors["a:outputs"][group]
    ratio = np.sqrt(np.trace(inputs) / len(inputs) / (np.trace(outputs) / len(outputs)))
    inputs = inputs + ratio * np.sqrt(damping) * np.eye(len(inputs))
    outputs = outputs + np.sqrt(damping) / ratio * np.eye(len(outputs))
    return np.linalg.inv(np.kron(outputs, inputs))


@pytest.mark.parametrize(
    "shape", [(1, 3, (4,)), (1, 1, (5,)), (1, 3, (2, 2, 2)), (3, 2, (2, 1, 2)), (5, 1, (1, 2, 2))]
)
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_equals_a_dense_inverse_in_every_group(shape, damping):
    groups = shape[0]
    weights, factors = random_layer(*shape)
    score = kfac_obs(weights, factors, damping=damping, damping_mode="absolute").scores["a"]
    inverse = np.concatenate([np.diag(dense_inverse(factors, g, damping)) for g in range(groups)])
    np.testing.assert_allclose(score, 0.5 * weights["a"] ** 2 / inverse.reshape(score.shape), rtol=1e-10)


@pytest.mark.parametrize("shape", [(1, 3, (4,)), (1, 3, (2, 2, 2)), (3, 2, (2, 1, 2)), (5, 1, (1, 2, 2))])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_corrected_eigenvalues_equal_a_dense_inverse(shape, damping):
    weights, factors = random_layer(*shape)
    statistics = corrected(factors)
    result = kfac_obs(weights, statistics, damping=damping, damping_mode="absolute")
    diagonals = []
    for g in range(shape[0]):
        basis = np.kron(statistics["a:output_basis"][g], statistics["a:input_basis"][g])
        hessian = basis @ np.diag(statistics["a:eigenvalues"][g].reshape(-1)) @ basis.T
        diagonals.append(np.diag(np.linalg.inv(hessian + damping * np.eye(len(hessian)))))
    expected = 0.5 * weights["a"] ** 2 / np.concatenate(diagonals).reshape(weights["a"].shape)
    np.testing.assert_allclose(result.scores["a"], expected, rtol=1e-10)
    assert result.details["structure"] == "ekfac"


@pytest.mark.parametrize("groups", [1, 3])
def test_relative_damping_is_in_units_of_the_mean_diagonal_of_h(groups):
    weights, factors = random_layer(groups, 2, (3, 1))
    hessians = [np.kron(factors["a:outputs"][g], factors["a:inputs"][g]) for g in range(groups)]
    mean = np.mean([np.diag(h) for h in hessians])
    result = kfac_obs(weights, factors, damping=0.1)
    assert result.details["absolute_damping"]["a"] == pytest.approx(0.1 * mean, rel=1e-12)
    statistics = corrected(factors)
    found = kfac_obs(weights, statistics, damping=0.1).details["absolute_damping"]["a"]
    assert found == pytest.approx(0.1 * statistics["a:eigenvalues"].mean(), rel=1e-12)


def test_without_damping_it_equals_obs_on_the_whole_layer():
    weights, factors = random_layer(1, 3, (4,))
    whole = {"a": np.kron(factors["a:outputs"][0], factors["a:inputs"][0])[None]}
    expected = obs(weights, whole, damping=0).scores["a"]
    np.testing.assert_allclose(kfac_obs(weights, factors, damping=0).scores["a"], expected, rtol=1e-10)


def test_damping_in_the_factors_scores_higher_than_exact_damping():
    """(A + π√λ)(Γ + √λ/π) = A ⊗ Γ + λ + more; `ekfac` and `obs` damp the same matrix exactly."""
    weights, factors = random_layer(1, 3, (4,))
    inputs, outputs = (np.linalg.eigh(factors[key][0]) for key in ("a:inputs", "a:outputs"))
    exact = {
        "a:input_basis": inputs.eigenvectors[None],
        "a:output_basis": outputs.eigenvectors[None],
        "a:eigenvalues": np.outer(outputs.eigenvalues, inputs.eigenvalues)[None],
    }
    whole = {"a": np.kron(factors["a:outputs"][0], factors["a:inputs"][0])[None]}
    found = kfac_obs(weights, exact, damping=0.2).scores["a"]
    np.testing.assert_allclose(found, obs(weights, whole, damping=0.2).scores["a"], rtol=1e-10)
    assert np.all(kfac_obs(weights, factors, damping=0.2).scores["a"] > found)


@pytest.mark.parametrize("kind", ["kfac", "ekfac"])
def test_a_group_without_curvature_has_the_scores_of_the_limit(kind):
    weights, factors = random_layer(3, 2, (2, 1))
    factors["a:outputs"][1] = 0.0
    statistics = factors if kind == "kfac" else corrected(factors)
    if kind == "ekfac":
        statistics["a:eigenvalues"][1] = 0.0
    alone = [{key: array[g : g + 1] for key, array in statistics.items()} for g in (0, 2)]
    for damping in (0.0, 0.5):
        result = kfac_obs(weights, statistics, damping=damping, damping_mode="absolute")
        assert result.details["layers_without_curvature"] == ["a"]
        np.testing.assert_allclose(
            result.scores["a"][2:4], 0.5 * weights["a"][2:4] ** 2 * damping, rtol=1e-14
        )
        for group, part in zip((0, 2), alone, strict=True):
            rows = slice(2 * group, 2 * group + 2)
            expected = kfac_obs({"a": weights["a"][rows]}, part, damping=damping, damping_mode="absolute")
            np.testing.assert_allclose(result.scores["a"][rows], expected.scores["a"], rtol=1e-12)


def test_float32_inputs_are_not_changed():
    weights, factors = random_layer(2, 2, (3, 1))
    weights = {"a": weights["a"].astype(np.float32)}
    factors = {key: factor.astype(np.float32) for key, factor in factors.items()}
    before = {key: factor.copy() for key, factor in factors.items()}
    for array in (*weights.values(), *factors.values()):
        array.flags.writeable = False
    result = kfac_obs(weights, factors, damping=0.1)
    assert result.scores["a"].dtype == np.float64 and result.scores["a"].shape == (4, 3, 1)
    for key, factor in factors.items():
        np.testing.assert_array_equal(factor, before[key])


@pytest.mark.parametrize("which", [("a:inputs",), ("a:outputs",), ("a:inputs", "a:outputs")])
def test_a_factor_that_is_not_definite_is_named_with_a_damping_that_does(which):
    weights, factors = random_layer(3, 3, (2, 2))
    for key in which:
        size = factors[key].shape[-1]
        factors[key][1] = 1.5 - 0.5 * np.eye(size)  # second pivot 1 - 1.5²
    with pytest.raises(ObtransferError, match="kfac_obs needs positive definite factors") as caught:
        kfac_obs(weights, factors, damping=0)
    for key in which:
        assert re.search(rf"smallest pivot -1.25 in {key} \(group 1\)", str(caught.value))
    found = re.search(r"damping to (\S+) \(absolute\) or (\S+) \(relative", str(caught.value))
    absolute, relative = (float(text) for text in found.groups())
    kfac_obs(weights, factors, damping=absolute, damping_mode="absolute")
    kfac_obs(weights, factors, damping=relative)


def test_groups_are_counted_with_those_that_have_no_curvature():
    weights, factors = random_layer(3, 2, (2, 1))
    factors["a:inputs"][0], factors["a:inputs"][2] = 0.0, np.ones((2, 2))
    with pytest.raises(ObtransferError, match=r"smallest pivot 0 in a:inputs \(group 2\)"):
        kfac_obs(weights, factors, damping=0)


def test_an_eigenvalue_of_zero_needs_damping():
    weights, factors = random_layer(2, 2, (3, 1))
    statistics = corrected(factors)
    statistics["a:eigenvalues"][1, 0, 2] = 0.0
    with pytest.raises(ObtransferError, match=r"smallest eigenvalue 0 in a \(group 1\)") as caught:
        kfac_obs(weights, statistics, damping=0)
    relative = float(re.search(r"or (\S+) \(relative", str(caught.value)).group(1))
    kfac_obs(weights, statistics, damping=relative)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {"a:inputs": f["a:inputs"]}, "a:outputs: missing"),
        (lambda f: f | {"b:inputs": np.ones((1, 1, 1))}, "b:inputs: not among the weights"),
        (
            lambda f: f | {"a:inputs": np.ones((1, 3, 3))},
            r"a:inputs: needed shape \[1, 4, 4\], got \[1, 3, 3\]",
        ),
        (
            lambda f: f | {"a:outputs": np.ones((3, 1, 1))},
            r"a:outputs: needed shape \[1, 3, 3\], got \[3, 1, 1\]",
        ),
        (
            lambda f: f | {"a:inputs": np.ones((2, 4, 4))},
            r"a:inputs: needed shape \[G, 4, 4\], got \[2, 4, 4\]",
        ),
        (lambda f: f | {"a:inputs": np.full((1, 4, 4), np.nan)}, "a:inputs: 16 of 16"),
        (lambda f: f | {"a:inputs": -f["a:inputs"]}, r"got 4 of 4 \(100\.0%\) in a:inputs"),
        (lambda f: corrected(f) | {"a:eigenvalues": np.ones((1, 4, 3))}, r"needed shape \[1, 3, 4\], got"),
        (
            lambda f: corrected(f) | {"a:eigenvalues": -np.ones((1, 3, 4))},
            r"got 12 of 12 .* in a:eigenvalues",
        ),
    ],
)
def test_statistics_that_do_not_fit_are_refused(change, message):
    weights, factors = random_layer(1, 3, (4,))
    with pytest.raises(ObtransferError, match=message):
        kfac_obs(weights, change(factors), damping=0)


def test_a_weight_without_inputs_is_refused():
    with pytest.raises(ObtransferError, match=r"of a weight with outputs and inputs, not one of shape \[4\]"):
        kfac_obs(
            {"a": np.ones(4)}, {"a:inputs": np.ones((1, 1, 1)), "a:outputs": np.ones((1, 4, 4))}, damping=0
        )


@pytest.mark.parametrize("damping", [-1.0, float("nan")])
def test_damping_out_of_range_is_refused(damping):
    with pytest.raises(ObtransferError, match="kfac_obs needs a finite damping of at least 0"):
        kfac_obs(*random_layer(), damping=damping)
