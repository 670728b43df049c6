"""Against nngeometry 0.4: diagonals, dense matrices and Kronecker factors of the Fisher matrix.

FIM's `regression` variant is the GGN of ½ ‖f − y‖² and `classif_logits` that of the cross-entropy: means over
examples, so theirs = ours. The empirical Fisher is the covariance of the gradients of one number per example, its
loss. Their `PMatKFAC` spreads the T positions of a convolution and the S vectors (K for `regression`, K − 1 for
`classif_logits`) in another way, A_theirs = √S T A and Γ_theirs = Γ / (√S T), and A has one more row and column, for
the bias; the product of what belongs to the weights is the same.

What does not run there: Linear layers on tokens (TinyViT), padding by name (TinyCNN), K-FAC of BatchNorm (which is
left out of the collection here). Grouped convolutions run, but a full weight is taken for granted, which shifts all
layers behind. Buffers have the default dtype, whatever the model has: it must be float64.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import blocks_of, one_thread
from exact_definitions import assert_equal, prunable
from plain_networks import NUM_FEATURES, PlainCNN, PlainMLP, with_head
from tiny_models import NUM_CLASSES, make, make_examples, make_head, statistic

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs and PyTorch's
COUNT, BLOCK = 4, 7
VARIANTS = {"squared_error": "regression", "cross_entropy": "classif_logits"}
every_case = pytest.mark.parametrize(
    ("kind", "loss", "estimator"),
    [(k, l, e) for k in (PlainCNN, PlainMLP) for l in VARIANTS for e in ("ggn", "empirical_fisher")],
    ids=lambda value: getattr(value, "__name__", value),
)


@pytest.fixture(autouse=True)
def float64_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Both:
    """One network for both sides."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.model, self.head = make(kind), make_head(NUM_FEATURES)
        self.images, self.labels = make_examples(kind.input_shape, COUNT)
        self.names = prunable(self.model)

    def ours(self, estimator: str, loss: str, structure: str, **more: Any) -> dict[str, Tensor]:
        batches = [(self.images, self.labels)]
        return statistic(
            self.model, self.head, batches, estimator=estimator, loss=loss, structure=structure, **more
        )

    def theirs(self, estimator: str, loss: str, representation: str) -> Any:
        """A matrix of the prunable layers with their biases, in two batches."""
        from nngeometry import metrics, object
        from nngeometry.layercollection import LayerCollection

        whole = with_head(self.model, self.head)
        layers = LayerCollection()
        for name in self.names:
            layers.add_layer_from_model(whole, self.model.get_submodule(name.removesuffix(".weight")))

        def losses(images: Tensor, labels: Tensor) -> Tensor:
            logits = whole(images)
            if loss == "cross_entropy":
                return nn.functional.cross_entropy(logits, labels, reduction="none")[:, None]
            return (logits - torch.eye(NUM_CLASSES)[labels]).square().sum(dim=1, keepdim=True) / 2

        ggn = {"variant": VARIANTS[loss], "function": lambda images, labels: whole(images)}
        asked = ggn if estimator == "ggn" else {"variant": "regression", "function": losses}
        data = torch.utils.data.TensorDataset(self.images, self.labels)
        loader = torch.utils.data.DataLoader(data, batch_size=3)
        kind = getattr(object, representation)
        return metrics.FIM(whole, loader, kind, layer_collection=layers, **asked)

    def sizes(self) -> list[tuple[str, int, int]]:
        """Of every layer its name, how many weights it has, and how many parameters with the bias."""
        found = []
        for name in self.names:
            layer = self.model.get_submodule(name.removesuffix(".weight"))
            found.append((name, layer.weight.numel(), sum(p.numel() for p in layer.parameters())))
        return found


@every_case
@one_thread()
def test_diagonal(kind: type[nn.Module], loss: str, estimator: str) -> None:
    both = Both(kind)
    ours, start = both.ours(estimator, loss, "diagonal"), 0
    theirs = both.theirs(estimator, loss, "PMatDiag").get_diag()
    for name, weights, parameters in both.sizes():
        assert_equal(ours[name].flatten(), theirs[start : start + weights], name)
        start += parameters
    assert start == len(theirs)


@every_case
@one_thread()
def test_blocks_of_the_dense_matrix(kind: type[nn.Module], loss: str, estimator: str) -> None:
    both = Both(kind)
    ours, start = both.ours(estimator, loss, "block", block_size=BLOCK), 0
    theirs = both.theirs(estimator, loss, "PMatDense").to_torch()
    for name, weights, parameters in both.sizes():
        part = slice(start, start + weights)
        assert_equal(ours[name], blocks_of(theirs[part, part], BLOCK), name)
        start += parameters


@every_case
@one_thread()
def test_kfac(kind: type[nn.Module], loss: str, estimator: str) -> None:
    both = Both(kind)
    ours = both.ours(estimator, loss, "kfac")
    theirs = both.theirs(estimator, loss, "PMatKFAC").data
    for name in both.names:
        inputs, outputs = theirs[name.removesuffix(".weight")]
        inputs = inputs[: ours[f"{name}:inputs"].shape[-1], : ours[f"{name}:inputs"].shape[-1]]
        product = torch.kron(ours[f"{name}:outputs"][0], ours[f"{name}:inputs"][0])
        assert_equal(product, torch.kron(outputs, inputs), name)
