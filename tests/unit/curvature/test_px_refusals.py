"""Networks in which paths are not defined are refused, module by module."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build
from tiny_models import TinyCNN, TinyViT, make, make_head, statistic
from torch import Tensor, nn

px_statistic = partial(statistic, estimator="px", structure="per_weight")


def refused(model: nn.Module, shape: tuple[int, ...], match: str, num_features: int = 4) -> None:
    images = torch.randn(2, *shape, dtype=next(model.parameters()).dtype)
    with pytest.raises(ObtransferError, match=match):
        px_statistic(model, make_head(num_features), [(images, torch.tensor([0, 1]))])
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_a_transformer_has_no_paths() -> None:
    match = (
        r"no vision transformer.*blocks\.0\.norm1 \(LayerNorm: layer_norm\), blocks\.0\.attn "
        r"\(Attention.*: scaled_dot_product_attention\).* and \d+ more; choose another criterion$"
    )
    refused(build("minivit"), (3, 32, 32), match, 96)
    refused(make(TinyViT), TinyViT.input_shape, r"norm1 \(LayerNorm: layer_norm\)")


def test_functions_without_a_module_are_seen_too() -> None:
    refused(make(TinyCNN), TinyCNN.input_shape, r"got the model \(TinyCNN: tanh\); choose")


def compiled(inputs: Tensor) -> Tensor:
    """What no mode of torch sees."""
    with torch._C.DisableTorchFunction():
        return torch.tanh(inputs)


class Head(nn.Module):
    """A linear layer, and a function after it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4), function

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.function(self.layer(inputs))
        return features


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (nn.SiLU(), r"function \(SiLU: silu\)"),
        (nn.Hardtanh(), r"function \(Hardtanh: hardtanh\)"),
        (nn.LeakyReLU(), r"function \(LeakyReLU: leaky_relu\)"),
        (nn.PReLU(), r"function \(PReLU: prelu\)"),
        (nn.GroupNorm(1, 4), r"function \(GroupNorm: group_norm\)"),
        (lambda features: features * features, r"the model \(Head: mul\)"),
        (lambda features: features - 1, r"the model \(Head: sub\)"),
        (lambda features: features.clamp(min=0), r"the model \(Head: clamp\)"),
        (lambda features: features + 1, "not, for a reason that its modules and functions do not show"),
        (compiled, "not, for a reason that its modules and functions do not show"),
        (
            lambda features: nn.functional.linear(features, torch.ones(4, 4)),
            r"the model \(Head: linear with a weight that is computed",
        ),
    ],
)
def test_what_has_no_paths_is_refused_by_name(function: Any, match: str) -> None:
    refused(Head(function), (4,), match)


class Pooled(nn.Module):
    """Images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images).mean(dim=(2, 3))
        return features


def test_images_of_several_shapes_are_refused() -> None:
    images = [torch.randn(1, 3, size, size, dtype=torch.float64) for size in (5, 6)]
    with pytest.raises(ObtransferError, match=r"one shape; got \[3, 6, 6\] after \[3, 5, 5\]"):
        px_statistic(Pooled().double(), make_head(3), [(i, torch.tensor([0])) for i in images])
