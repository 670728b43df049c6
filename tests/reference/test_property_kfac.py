"""Random networks: K-FAC's factors against direct sums over positions, and what EK-FAC makes of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import full_matrix, one_thread
from exact_definitions import (
    ESTIMATORS,
    LOSSES,
    assert_equal,
    factors_of,
    gradients_of,
    observe,
    prunable,
    vectors_of,
)
from random_networks import Case, cases, linear_networks
from tiny_models import statistic
from torch import Tensor

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Using padding='same'")]
SETTINGS = settings(max_examples=30, derandomize=True, deadline=None, database=None)


def compute(case: Case, estimator: str, loss: str, **more: object) -> dict[str, Tensor]:
    batches = [(case.images, case.labels)]
    return statistic(case.model, case.head, batches, estimator=estimator, loss=loss, **more)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@one_thread()
def test_factors_are_the_sums_over_positions(estimator: str, loss: str) -> None:
    @SETTINGS
    @given(cases())
    def equal(case: Case) -> None:
        computed = compute(case, estimator, loss, structure="kfac")
        names = prunable(case.model)
        assert sorted(computed) == sorted(
            f"{name}:{side}" for name in names for side in ("inputs", "outputs")
        )
        seen = observe(case.model, case.head, case.images, vectors_of(case.labels, loss, estimator))
        for name in names:
            inputs, outputs = factors_of(seen[name])
            assert_equal(computed[f"{name}:inputs"], inputs, name)
            assert_equal(computed[f"{name}:outputs"], outputs, name)

    equal()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@one_thread()
def test_eigenvalues_are_the_mean_squares_in_the_eigenbasis(estimator: str, loss: str) -> None:
    @SETTINGS
    @given(cases())
    def equal(case: Case) -> None:
        factors = compute(case, estimator, loss, structure="kfac")
        computed = compute(case, estimator, loss, structure="ekfac", prior=factors)
        seen = observe(case.model, case.head, case.images, vectors_of(case.labels, loss, estimator))
        for name, layer in seen.items():
            inputs, outputs = computed[f"{name}:input_basis"], computed[f"{name}:output_basis"]
            assert_basis(inputs, factors[f"{name}:inputs"])
            assert_basis(outputs, factors[f"{name}:outputs"])
            groups, size, width = len(inputs), outputs.shape[-1], inputs.shape[-1]
            gradients = gradients_of(layer).unflatten(-1, (groups, size, width))
            turned = outputs.mT @ gradients @ inputs
            exact = turned.square().sum(dim=(0, 1)) / len(gradients)
            scale = gradients.square().sum() / len(gradients)  # eigenvalues may vanish where gradients don't
            assert (computed[f"{name}:eigenvalues"] - exact).abs().max() <= 1e-8 * scale, name
            assert computed[f"{name}:eigenvalues"].shape == exact.shape

    equal()


def assert_basis(basis: Tensor, factor: Tensor) -> None:
    """Columns are orthonormal eigenvectors, group by group."""
    identity = torch.eye(basis.shape[-1], dtype=basis.dtype).expand_as(basis)
    torch.testing.assert_close(basis.mT @ basis, identity, rtol=0, atol=1e-9)
    turned = basis.mT @ factor @ basis
    off = turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))
    assert off.abs().max() <= 1e-9 * factor.abs().max()


@pytest.mark.parametrize("loss", LOSSES)
@one_thread()
def test_one_example_without_shared_weights_is_exact(loss: str) -> None:
    """A ⊗ Γ is the matrix where the layer sees one position of one example: nothing is averaged."""

    @SETTINGS
    @given(linear_networks(count=st.just(1), nonlinear=True))
    def equal(case: Case) -> None:
        for estimator in ESTIMATORS:
            assert_product_is_the_matrix(case, estimator, loss)

    equal()


@one_thread()
def test_linear_networks_are_exact() -> None:
    """For the squared error Γ is the same for every example of a linear network, so that A ⊗ Γ is the GGN."""

    @SETTINGS
    @given(linear_networks(count=st.integers(2, 5), nonlinear=False))
    def equal(case: Case) -> None:
        assert_product_is_the_matrix(case, "ggn", "squared_error")

    equal()


def assert_product_is_the_matrix(case: Case, estimator: str, loss: str) -> None:
    computed = compute(case, estimator, loss, structure="kfac")
    seen = observe(case.model, case.head, case.images, vectors_of(case.labels, loss, estimator))
    for name, layer in seen.items():
        (inputs,), (outputs,) = computed[f"{name}:inputs"], computed[f"{name}:outputs"]
        assert_equal(torch.kron(outputs, inputs), full_matrix(gradients_of(layer)), name)


@one_thread()
def test_beyond_that_it_is_an_approximation() -> None:
    """Were the products exact everywhere, the two tests above would say nothing."""
    deviations = []

    @settings(SETTINGS, max_examples=5)
    @given(linear_networks(count=st.just(4), nonlinear=True))
    def record(case: Case) -> None:
        computed = compute(case, "ggn", "squared_error", structure="kfac")
        seen = observe(case.model, case.head, case.images, vectors_of(case.labels, "squared_error", "ggn"))
        name = prunable(case.model)[0]
        product = torch.kron(computed[f"{name}:outputs"][0], computed[f"{name}:inputs"][0])
        exact = full_matrix(gradients_of(seen[name]))
        deviations.append(float((product - exact).abs().max() / exact.abs().max()))

    record()
    assert max(deviations) > 0.05
