"""The GGN of the cross-entropy, from its textbook form: 1/N Σ_n Jᵀ (diag p − p pᵀ) J with J by torch.func."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import blocks_of, one_thread
from exact_definitions import assert_equal, prunable
from plain_networks import NETWORKS, NUM_FEATURES
from tiny_models import make, make_examples, make_head, statistic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Using padding='same'", "ignore:There is a performance drop"),
]


def exact_ggn(model: nn.Module, head: tuple[Tensor, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Of every layer alone [n, n]: Jacobians of all examples at once."""
    model.eval()
    weights = {name: model.get_parameter(name).detach() for name in prunable(model)}

    def logits(values: dict[str, Tensor]) -> Tensor:
        found: Tensor = torch.func.functional_call(model, values, (images,)) @ head[0].T + head[1]
        return found

    p = logits(weights).softmax(dim=1)
    off_diagonal = (1 - torch.eye(p.shape[1])) * p[:, :, None] * p[:, None, :]
    curvature = torch.diag_embed(off_diagonal.sum(dim=2)) - off_diagonal  # p (1 − p) without cancellation
    jacobians = torch.func.jacrev(logits)(weights)
    return {
        name: torch.einsum("nki,nkl,nlj->ij", jacobian.flatten(2), curvature, jacobian.flatten(2))
        / len(images)
        for name, jacobian in jacobians.items()
    }


@pytest.mark.parametrize("network", NETWORKS)
@one_thread()
def test_diagonal_and_blocks(network: str) -> None:
    kind = NETWORKS[network]
    model, head = make(kind), make_head(NUM_FEATURES)
    images, labels = make_examples(kind.input_shape, 5)
    exact = exact_ggn(model, head, images)
    batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]
    diagonal, blocks, rows = (
        statistic(
            model,
            head,
            batches,
            estimator="ggn",
            loss="cross_entropy",
            structure=structure,
            block_size=size,
        )
        for structure, size in (("diagonal", 1), ("block", 9), ("block", "row"))
    )
    for name, matrix in exact.items():
        assert_equal(diagonal[name].flatten(), matrix.diagonal(), name)
        assert_equal(blocks[name], blocks_of(matrix, 9), name)
        assert_equal(rows[name], blocks_of(matrix, diagonal[name][0].numel()), name)


@one_thread()
def test_confident_predictions_keep_their_digits() -> None:
    """Where 1 − p is 1e-13, so is the curvature of the logits: 1 − p as a difference would have three digits."""
    model = make(NETWORKS["PlainMLP"])
    images, labels = make_examples((6,), 3)
    head = (torch.zeros(3, NUM_FEATURES).double(), torch.tensor([30.0, 0.0, -1.0]).double())
    head[0][0] = 1e-2
    computed = statistic(
        model, head, [(images, labels)], estimator="ggn", loss="cross_entropy", structure="diagonal"
    )
    for name, matrix in exact_ggn(model, head, images).items():
        assert 0 < matrix.diagonal().max() < 1e-15
        assert_equal(computed[name].flatten(), matrix.diagonal(), name)
