"""What cannot be computed is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from obtransfer.errors import ObtransferError
from tiny_models import TinyViT, make, make_examples, make_head, statistic
from torch import Tensor, nn


def compute(
    model: nn.Module, images: Tensor | None = None, labels: Tensor | None = None, **options: Any
) -> None:
    examples = make_examples(TinyViT.input_shape, 3)
    images = examples[0] if images is None else images
    labels = examples[1] if labels is None else labels
    arguments: dict[str, Any] = {"estimator": "empirical_fisher", "structure": "diagonal", **options}
    head = arguments.pop("head", make_head(4))
    statistic(model, head, arguments.pop("batches", [(images, labels)]), **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "fisher"}, "an estimator; got 'fisher'; there are: ggn, mc_fisher, empirical_fisher"),
        (
            {"structure": "full"},
            r"word of a structure; got 'full'; write one of: diagonal, block.*, kfac, ekfac",
        ),
        (
            {"estimator": "gradient"},
            "gradient needs a structure that it can make; got diagonal; it makes per_weight",
        ),
        (
            {"estimator": "ggn", "num_probes": 3},
            "needs settings that it has; got num_probes; its settings: loss$",
        ),
        ({"loss": "hinge"}, "loss; got 'hinge'; there are: squared_error, cross_entropy"),
        ({"estimator": "mc_fisher", "num_samples": 0}, "num_samples = 0"),
        ({"structure": "block", "block_size": 0}, "got 'block0'"),
        ({"structure": "block", "block_size": "column"}, "got 'blockcolumn'"),
        (
            {"structure": "block", "block_size": 17},
            r"layers of at least 17 weights; got patch_embed.weight \(16\), proj.weight \(16\); take",
        ),
        ({"structure": "ekfac", "prior": {}}, r"patch_embed.weight:inputs of shape \(1, 4, 4\); got none"),
        (
            {"structure": "ekfac", "prior": {"patch_embed.weight:inputs": torch.eye(3)[None]}},
            r"of shape \(1, 4, 4\); got shape \(1, 3, 3\)",
        ),
        (
            {
                "structure": "ekfac",
                "prior": {"patch_embed.weight:inputs": torch.full((1, 4, 4), torch.nan)},
            },
            r"patch_embed.weight:inputs \(16 of 16\)",
        ),
        ({"batches": []}, "at least one calibration example"),
        ({"parameters": []}, "at least one"),
        ({"parameters": ["qkv.weight", "nowhere.weight"]}, r"nowhere.weight \(no such parameter\)"),
        ({"parameters": ["qkv.bias", "position"]}, "qkv.bias .*; position"),
        ({"parameters": ["norm.weight"]}, "norm.weight .*LayerNorm"),
        ({"head": make_head(5)}, r"features \(3, 4\), weight \(3, 5\), bias \(3,\)"),
        ({"head": (make_head(4)[0], torch.zeros(2))}, r"bias \(2,\)"),
        ({"labels": torch.tensor([0, 1, 3])}, r"labels in \[0, 3\).*from 0 to 3"),
        ({"labels": torch.tensor([0, -1, 2])}, "from -1 to 2"),
        ({"labels": torch.zeros(3)}, "integer label per example.*float32"),
        ({"labels": torch.tensor([0, 1])}, r"shape \(3,\); got shape \(2,\)"),
        ({"labels": torch.tensor([0, 1, 3]), "loss": "cross_entropy"}, r"labels in \[0, 3\).*from 0 to 3"),
        ({"labels": torch.tensor([True, False, True])}, "integer label per example.*bool"),
        ({"batches": [(torch.zeros(3, 1, 4, 6),)]}, "got 1 tensors"),
        (
            {"batches": [(torch.zeros(3, 1, 4, 6), torch.zeros(3), torch.zeros(2))]},
            r"index per example.*\(2,\)",
        ),
        (
            {"batches": [(torch.zeros(3, 1, 4, 6), torch.zeros(3), torch.zeros(3))]},
            "index per example.*float32",
        ),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ObtransferError, match=message):
        compute(make(TinyViT), **options)


def test_statistics_that_are_not_finite_name_layer_and_count() -> None:
    images, labels = make_examples(TinyViT.input_shape, 3)
    images[1, 0, 0, 0] = float("nan")
    with pytest.raises(ObtransferError, match=r"patch_embed.weight \(16 of 16\).*qkv.weight \(48 of 48\)"):
        compute(make(TinyViT), images, labels)


class Wrapped(nn.Module):
    """One layer before the features, called in some way."""

    def __init__(self, layer: nn.Module, call: Any = None) -> None:
        super().__init__()
        self.layer, self.plain = layer, nn.Linear(24, 4)
        self.call = call or (lambda layer, features: layer(features))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.call(self.layer, self.plain(images.flatten(1)))
        return features


class ScaledLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class StandardisedConv(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight - weight.mean(), bias)


def without_gradient(layer: nn.Module, features: Tensor) -> Tensor:
    with torch.no_grad():
        return features + layer(features)


def overwriting(layer: nn.Module, features: Tensor) -> Tensor:
    inputs = features.detach() + 0
    outputs = layer(inputs)
    inputs.zero_()
    return outputs + features


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Wrapped(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")),
            r"layer.weight \(padding_mode 'reflect'\)",
        ),
        (Wrapped(ScaledLinear(4, 4)), r"layer.weight \(ScaledLinear replaces Linear.forward\)"),
        (Wrapped(StandardisedConv(1, 1, 3)), "StandardisedConv replaces Conv2d._conv_forward"),
        (Wrapped(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))), "layer.weight"),
        (
            Wrapped(nn.BatchNorm1d(4, track_running_stats=False)),
            "layer .*BatchNorm1d without running statistics",
        ),
        (
            Wrapped(nn.MultiheadAttention(4, 2), lambda l, f: f + l(f, f, f)[0]),
            "no call of layer.out_proj.weight",
        ),
        (
            Wrapped(nn.Linear(2, 2), lambda l, f: l(f.view(-1, 2)).view(-1, 4)),
            r"got \(6, 2\) at layer.weight",
        ),
        (Wrapped(nn.Linear(4, 4), without_gradient), "got none at layer.weight"),
        (Wrapped(nn.Linear(4, 4), lambda l, f: l(f).detach()), "a tensor without gradient"),
        (Wrapped(nn.Linear(4, 4), lambda l, f: (l(f),)), "got tuple"),
        (Wrapped(nn.Linear(4, 4), overwriting), "an input of layer.weight that was overwritten in place"),
        (nn.Flatten(), "got an empty list of parameters, or Flatten, which has none"),
    ],
)
def test_layers_that_hooks_cannot_treat(model: nn.Module, message: str) -> None:
    with pytest.raises(ObtransferError, match=message):
        compute(model.double())


def test_parameter_shared_between_modules() -> None:
    model = Wrapped(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))).double()
    model.layer[1].weight = model.layer[0].weight
    with pytest.raises(ObtransferError, match=r"layer.0.weight \(shared by 2 places"):
        compute(model)


def test_an_unsupported_layer_may_be_left_out_by_name() -> None:
    compute(Wrapped(ScaledLinear(4, 4)).double(), parameters=["plain.weight"])


def test_a_call_that_does_not_reach_the_features_adds_nothing() -> None:
    examples = make_examples(TinyViT.input_shape, 3)
    model = Wrapped(
        nn.Linear(4, 4), lambda layer, features: (layer(2 * features), layer(features))[1]
    ).double()
    options: dict[str, Any] = {"estimator": "ggn", "structure": "diagonal"}
    computed = statistic(model, make_head(4), [examples], **options)
    model.call = lambda layer, features: layer(features)
    for name, expected in statistic(model, make_head(4), [examples], **options).items():
        torch.testing.assert_close(computed[name], expected, rtol=1e-12, atol=0)
