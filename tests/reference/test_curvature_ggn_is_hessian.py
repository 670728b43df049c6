"""A second, independent reference: where every residual is zero, the GGN is the Hessian of the loss."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import blocks_of, one_thread, relative_error
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic


def exact_hessian(
    model: nn.Module, head: tuple[Tensor, Tensor], images: Tensor
) -> dict[str, dict[str, Tensor]]:
    """Second derivatives of 1/N Σ_n ½ ‖f(x_n; w) − f(x_n; w₀)‖² at w₀, by parameter and parameter."""
    model.eval()
    names = [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    targets = (model(images) @ head[0].T + head[1]).detach()

    def loss(weights: dict[str, Tensor]) -> Tensor:
        logits = torch.func.functional_call(model, weights, (images,)) @ head[0].T + head[1]
        return (logits - targets).square().sum(dim=1).mean() / 2

    hessian: dict[str, dict[str, Tensor]] = torch.func.hessian(loss)(
        {name: model.get_parameter(name).detach() for name in names}
    )
    return hessian


@pytest.mark.slow
@one_thread()
@pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
def test_ggn_blocks_and_diagonal(kind: type[nn.Module]) -> None:
    model, head = make(kind), make_head(4)
    images, labels = make_examples(kind.input_shape, 3)
    with torch.nn.attention.sdpa_kernel(
        torch.nn.attention.SDPBackend.MATH
    ):  # the only one with second derivatives
        exact = exact_hessian(model, head, images)
    for structure in ("diagonal", "block"):
        computed = statistic(
            model, head, [(images, labels)], estimator="ggn", structure=structure, block_size=9
        )
        assert list(computed) == list(exact)
        for name, layers in exact.items():
            size = model.get_parameter(name).numel()
            matrix = layers[name].reshape(size, size)
            expected = matrix.diagonal() if structure == "diagonal" else blocks_of(matrix, 9)
            assert relative_error(computed[name].reshape(expected.shape), expected) < 1e-8, name
