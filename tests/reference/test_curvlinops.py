"""Against curvlinops 3 (f-dangel/curvlinops): dense GGN, empirical Fisher, K-FAC and EK-FAC.

With N examples and K classes, theirs · c = ours, where c =

                     MSELoss mean   MSELoss sum   CrossEntropyLoss mean   sum
    GGN, type-2      K / 2          1 / (2 N)     1                       1 / N
    empirical        K / 4          1 / (4 N)     1                       1 / N

Their squared error has no ½ (2 in second derivatives, 4 in squares of gradients) and `mean` is over classes, too.

Not compared, since their K-FAC (`expand`) is another one there:
* Grouped convolutions: they average the input over groups, and make one Γ of all channels, of which ours are the
  diagonal blocks (tested).
* A layer called several times: their A is the sum over calls, ours the mean over all positions (tested).
* Padding `same` with more zeros on one side: they refuse it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import blocks_of, one_thread
from exact_definitions import assert_equal, prunable
from plain_networks import NETWORKS, NUM_FEATURES, GroupedCNN, PlainCNN, PlainMLP, with_head
from tiny_models import NUM_CLASSES, TinyViT, make, make_examples, make_head, statistic

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs and PyTorch's
COUNT, BLOCK = 5, 7
CONSTANTS = {
    ("squared_error", "mean", "ggn"): NUM_CLASSES / 2,
    ("squared_error", "sum", "ggn"): 1 / (2 * COUNT),
    ("squared_error", "mean", "empirical_fisher"): NUM_CLASSES / 4,
    ("squared_error", "sum", "empirical_fisher"): 1 / (4 * COUNT),
    ("cross_entropy", "mean", "ggn"): 1.0,
    ("cross_entropy", "sum", "ggn"): 1 / COUNT,
    ("cross_entropy", "mean", "empirical_fisher"): 1.0,
    ("cross_entropy", "sum", "empirical_fisher"): 1 / COUNT,
}
FISHERS = {"ggn": "type-2", "empirical_fisher": "empirical"}
every_constant = pytest.mark.parametrize(
    ("loss", "reduction", "estimator"), CONSTANTS, ids=lambda value: value
)


class Both:
    """One network for both sides."""

    def __init__(self, kind: Any) -> None:
        self.model, self.head = make(kind), make_head(NUM_FEATURES)
        self.images, self.labels = make_examples(kind.input_shape, COUNT)
        self.names = prunable(self.model)

    def ours(self, estimator: str, loss: str, structure: str, **more: Any) -> dict[str, Tensor]:
        batches = [(self.images, self.labels)]
        return statistic(
            self.model, self.head, batches, estimator=estimator, loss=loss, structure=structure, **more
        )

    def theirs(self, operator: str, loss: str, reduction: str, **more: Any) -> Any:
        """In two batches of different sizes."""
        import curvlinops

        onehot = torch.eye(NUM_CLASSES, dtype=torch.float64)[self.labels]
        targets = onehot if loss == "squared_error" else self.labels
        kind = nn.MSELoss if loss == "squared_error" else nn.CrossEntropyLoss
        return getattr(curvlinops, operator)(
            with_head(self.model, self.head),
            kind(reduction=reduction),
            [self.model.get_parameter(name) for name in self.names],
            [(self.images[:2], targets[:2]), (self.images[2:], targets[2:])],
            check_deterministic=False,
            **more,
        )

    def matrices(self, operator: Any) -> dict[str, Tensor]:
        """The block of every layer [n, n], by multiplying with unit vectors."""
        sizes = [self.model.get_parameter(name).numel() for name in self.names]
        with torch.nn.attention.sdpa_kernel(
            torch.nn.attention.SDPBackend.MATH
        ):  # has the forward mode they use
            matrix = operator @ torch.eye(sum(sizes), dtype=torch.float64)
        parts = [block.split(sizes, dim=1)[i] for i, block in enumerate(matrix.split(sizes, dim=0))]
        return dict(zip(self.names, parts, strict=True))


@every_constant
@pytest.mark.parametrize("network", NETWORKS)
@one_thread()
def test_diagonal_and_blocks(network: str, loss: str, reduction: str, estimator: str) -> None:
    both = Both(NETWORKS[network])
    operator = {"ggn": "GGNLinearOperator", "empirical_fisher": "EFLinearOperator"}[estimator]
    diagonal = both.ours(estimator, loss, "diagonal")
    blocks = both.ours(estimator, loss, "block", block_size=BLOCK)
    for name, matrix in both.matrices(both.theirs(operator, loss, reduction)).items():
        matrix = CONSTANTS[loss, reduction, estimator] * matrix
        assert_equal(diagonal[name].flatten(), matrix.diagonal(), name)
        assert_equal(blocks[name], blocks_of(matrix, BLOCK), name)


@every_constant
@pytest.mark.parametrize("kind", [PlainCNN, PlainMLP, TinyViT], ids=lambda kind: kind.__name__)
@one_thread()
def test_kfac(kind: type[nn.Module], loss: str, reduction: str, estimator: str) -> None:
    both, constant = Both(kind), CONSTANTS[loss, reduction, estimator]
    ours = both.ours(estimator, loss, "kfac")
    operator = both.theirs("KFACLinearOperator", loss, reduction, fisher_type=FISHERS[estimator])
    for name, matrix in both.matrices(operator).items():
        inputs, outputs = factors(operator, name)
        assert_equal(ours[f"{name}:inputs"][0], inputs, name)
        assert_equal(ours[f"{name}:outputs"][0], constant * outputs, name)
        assert_equal(
            torch.kron(ours[f"{name}:outputs"][0], ours[f"{name}:inputs"][0]), constant * matrix, name
        )


@every_constant
@pytest.mark.parametrize("kind", [PlainCNN, PlainMLP, TinyViT], ids=lambda kind: kind.__name__)
@one_thread()
def test_ekfac(kind: type[nn.Module], loss: str, reduction: str, estimator: str) -> None:
    both, constant = Both(kind), CONSTANTS[loss, reduction, estimator]
    ours = both.ours(estimator, loss, "ekfac", prior=both.ours(estimator, loss, "kfac"))
    operator = both.theirs("EKFACLinearOperator", loss, reduction, fisher_type=FISHERS[estimator])
    for name, matrix in both.matrices(operator).items():
        basis = torch.kron(ours[f"{name}:output_basis"][0], ours[f"{name}:input_basis"][0])
        ours_dense = basis * ours[f"{name}:eigenvalues"][0].flatten() @ basis.T
        assert_equal(ours_dense, constant * matrix, name)


@one_thread()
def test_kfac_of_groups() -> None:
    both = Both(GroupedCNN)
    ours = both.ours("ggn", "cross_entropy", "kfac")["3.weight:outputs"]
    operator = both.theirs("KFACLinearOperator", "cross_entropy", "mean", fisher_type="type-2")
    both.matrices(operator)
    theirs = factors(operator, "3.weight")[1]
    assert_equal(ours, torch.stack([theirs[:2, :2], theirs[2:, 2:]]), "Γ")


class Recurrent(nn.Module):
    """One layer, called twice."""

    input_shape = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.twice(torch.tanh(self.twice(inputs)))


@one_thread()
def test_kfac_of_a_layer_called_twice() -> None:
    both = Both(Recurrent)
    ours = both.ours("ggn", "cross_entropy", "kfac")
    operator = both.theirs("KFACLinearOperator", "cross_entropy", "mean", fisher_type="type-2")
    both.matrices(operator)
    inputs, outputs = factors(operator, "twice.weight")
    assert_equal(ours["twice.weight:inputs"][0], inputs / 2, "A")
    assert_equal(ours["twice.weight:outputs"][0], outputs, "Γ")


def factors(operator: Any, name: str) -> tuple[Tensor, Tensor]:
    """A and Γ, once the operator was used; their public interface has only the product."""
    layer = name.removesuffix(".weight")
    (module,) = {layer, f"0.{layer}"} & set(operator._input_covariances)
    return operator._input_covariances[module], operator._gradient_covariances[module]
