"""Every estimator of vectors with every structure and both losses against per-example autograd, in float64."""

from __future__ import annotations

from typing import Any

import exact_outputs
import pytest
import torch
from exact_curvature import blocks_of, relative_error
from obtransfer.registry import LOSSES, resolve
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, numbered, statistic
from torch import Tensor, nn

TOLERANCE = 1e-8
COUNT, SAMPLES, SEED, FIRST = 5, 2, 7, 40


class Case:
    """A network with its head, five examples, a loss, and for every estimator the exact matrices of the layers."""

    def __init__(self, kind: type[nn.Module], loss: str) -> None:
        self.model, self.head, self.loss = make(kind), make_head(4), loss
        self.images, self.labels = make_examples(kind.input_shape, COUNT)
        self.names = exact_outputs.prunable(self.model)
        logits = exact_outputs.outputs_of(self.model, self.head, self.images)
        drawn = resolve(LOSSES[loss]).sample(logits, SAMPLES, SEED, torch.arange(FIRST, FIRST + COUNT))
        self.matrices = {
            estimator: exact_outputs.output_matrices(loss, estimator, logits, self.labels, drawn)
            for estimator in ("ggn", "mc_fisher", "empirical_fisher")
        }
        self.jacobians = {
            name: exact_outputs.jacobians(self.model, self.head, self.images, name) for name in self.names
        }

    def exact(self, estimator: str, name: str) -> Tensor:
        return exact_outputs.layer_matrix(self.jacobians[name], self.matrices[estimator])

    def factors(self, estimator: str, name: str) -> tuple[Tensor, Tensor]:
        layer = self.model.get_submodule(name.removesuffix(".weight"))
        return exact_outputs.factors(self.model, layer, self.head, self.images, self.matrices[estimator])

    def compute(self, estimator: str, structure: str, **options: Any) -> dict[str, Tensor]:
        batches = [(self.images[:3], self.labels[:3]), (self.images[3:], self.labels[3:])]
        fixed: dict[str, Any] = {"loss": self.loss, "seed": SEED}
        if estimator == "mc_fisher":
            fixed["num_samples"] = SAMPLES
        return statistic(
            self.model,
            self.head,
            list(numbered(batches, FIRST)),
            estimator=estimator,
            structure=structure,
            **fixed,
            **options,
        )


@pytest.fixture(
    scope="module",
    params=[(kind, loss) for kind in (TinyCNN, TinyViT) for loss in LOSSES],
    ids=lambda pair: f"{pair[0].__name__}-{pair[1]}",
)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


ESTIMATORS = pytest.mark.parametrize("estimator", ["ggn", "mc_fisher", "empirical_fisher"])


@ESTIMATORS
def test_diagonal(case: Case, estimator: str) -> None:
    computed = case.compute(estimator, "diagonal")
    assert list(computed) == case.names
    for name in case.names:
        assert computed[name].shape == case.model.get_parameter(name).shape
        assert relative_error(computed[name].flatten(), case.exact(estimator, name).diagonal()) < TOLERANCE, (
            name
        )


@ESTIMATORS
@pytest.mark.parametrize("block_size", [1, 5, 16, "row"])
def test_blocks(case: Case, estimator: str, block_size: int | str) -> None:
    computed = case.compute(estimator, "block", block_size=block_size)
    assert list(computed) == case.names
    for name in case.names:
        size = case.model.get_parameter(name)[0].numel() if block_size == "row" else int(block_size)
        expected = blocks_of(case.exact(estimator, name), size)
        assert computed[name].shape == expected.shape
        assert relative_error(computed[name], expected) < TOLERANCE, name


@ESTIMATORS
def test_kfac(case: Case, estimator: str) -> None:
    computed = case.compute(estimator, "kfac")
    assert list(computed) == [f"{name}:{side}" for name in case.names for side in ("inputs", "outputs")]
    for name in case.names:
        for side, exact in zip(("inputs", "outputs"), case.factors(estimator, name), strict=True):
            assert computed[f"{name}:{side}"].shape == exact.shape
            assert relative_error(computed[f"{name}:{side}"], exact) < TOLERANCE, (name, side)


@ESTIMATORS
@pytest.mark.parametrize("rotates_operands", [True, False, None])
def test_ekfac(
    case: Case, estimator: str, rotates_operands: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rotates_operands is not None:
        monkeypatch.setattr(
            "obtransfer.curvature.structures.ekfac.rotates_operands", lambda *_: rotates_operands
        )
    factors = case.compute(estimator, "kfac")
    computed = case.compute(estimator, "ekfac", prior=factors)
    for name in case.names:
        bases = computed[f"{name}:input_basis"], computed[f"{name}:output_basis"]
        for basis, side in zip(bases, ("inputs", "outputs"), strict=True):
            rotated = basis.mT @ factors[f"{name}:{side}"] @ basis
            diagonal = rotated.diagonal(dim1=1, dim2=2)
            assert (
                relative_error(basis.mT @ basis, torch.eye(basis.shape[1]).double().expand_as(basis)) < 1e-12
            )
            assert relative_error(torch.diag_embed(diagonal), rotated) < 1e-12
            assert (diagonal.diff() >= -1e-12 * diagonal.max()).all()
        exact = group_blocks(case.exact(estimator, name), len(bases[0]))
        for group, (matrix, inputs, outputs) in enumerate(zip(exact, *bases, strict=True)):
            basis = torch.kron(outputs, inputs)
            expected = (basis.T @ matrix @ basis).diagonal()
            found = computed[f"{name}:eigenvalues"][group].flatten()
            assert relative_error(found, expected) < TOLERANCE, (name, group)
            kfac = torch.kron(factors[f"{name}:outputs"][group], factors[f"{name}:inputs"][group])
            corrected = basis @ torch.diag(found) @ basis.T
            assert (corrected - matrix).norm() <= (kfac - matrix).norm() * (1 + 1e-12), (name, group)


def group_blocks(matrix: Tensor, groups: int) -> list[Tensor]:
    """The matrix of each group of a convolution, which are consecutive in row-major order."""
    size = len(matrix) // groups
    return [matrix[g * size : (g + 1) * size, g * size : (g + 1) * size] for g in range(groups)]


def test_losses_and_estimators_are_told_apart(case: Case) -> None:
    """Had one been taken for another, tests against its own reference could still pass by chance; these differ."""
    other = "cross_entropy" if case.loss == "squared_error" else "squared_error"
    for estimator in ("ggn", "mc_fisher", "empirical_fisher"):
        mine = case.compute(estimator, "diagonal")
        batches = [(case.images, case.labels)]
        theirs = statistic(
            case.model, case.head, batches, estimator=estimator, structure="diagonal", loss=other
        )
        assert all(relative_error(mine[name], theirs[name]) > 0.01 for name in case.names)
