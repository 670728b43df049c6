"""A reference without any Gauss-Newton: where f is linear in a layer's weights, the GGN is the Hessian of the loss.

That is so, piecewise, for every layer of a network of convolutions, Linear layers, ReLU, max-pooling and BatchNorm,
each called once: a layer's own block of ∇² 1/N Σ_n ℓ, residuals or not, for both losses.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import blocks_of, one_thread
from exact_definitions import assert_equal, prunable
from tiny_models import make, make_examples, make_head, statistic


class PiecewiseLinear(nn.Module):
    """Stride, groups, dilation, a shortcut, tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)
        self.pointwise = nn.Conv2d(4, 6, 1, groups=2)
        self.shortcut = nn.Conv2d(4, 6, 1)
        self.tokens = nn.Linear(6, 5)
        self.last = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.stem(images)))
        branch = self.pointwise(torch.relu(self.depthwise(maps)))
        maps = nn.functional.max_pool2d(branch + self.shortcut(maps), 2)
        tokens = torch.relu(self.tokens(maps.flatten(2).transpose(1, 2)))
        features: Tensor = self.last(nn.functional.leaky_relu(tokens.mean(dim=1)))
        return features


@pytest.mark.slow
@one_thread()
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_every_layer_s_block_of_the_hessian(loss: str) -> None:
    model, head = make(PiecewiseLinear), make_head(4)
    images, labels = make_examples((2, 9, 8), 4)
    model.eval()

    def mean_loss(name: str, weight: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, {name: weight}, (images,)) @ head[0].T + head[1]
        if loss == "cross_entropy":
            return nn.functional.cross_entropy(logits, labels)
        return (logits - nn.functional.one_hot(labels, 3)).square().sum(dim=1).mean() / 2

    computed = statistic(
        model, head, [(images, labels)], estimator="ggn", loss=loss, structure="block", block_size=10
    )
    for name in prunable(model):
        weight = model.get_parameter(name).detach()
        hessian = torch.func.hessian(lambda value, name=name: mean_loss(name, value))(weight)
        matrix = hessian.reshape(weight.numel(), -1)
        assert matrix.diagonal().max() > 0
        assert_equal(computed[name], blocks_of(matrix, 10), name)
