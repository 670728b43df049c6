"""Weights that may be removed are those whose zeros are zeros in the kernel; other networks are refused."""

from collections.abc import Callable

import pytest
import timm
import torch
import yaml
from obtransfer.config import load
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build_empty
from obtransfer.models.prunable import STANDARDISED, computes_kernels, prunable_parameters
from obtransfer.models.published import timm_table
from project import ROOT
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm


class Halved(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


def parametrised(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Halved())
    return layer


@pytest.mark.parametrize(
    "change",
    [weight_norm, spectral_norm, parametrizations.weight_norm, parametrizations.orthogonal, parametrised],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_normalised_and_parametrised_weights_are_refused(change: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), change(nn.Linear(4, 4)))
    assert computes_kernels(model) == ["2"]
    with pytest.raises(
        ObtransferError, match="in every forward pass, so that zeros in the weight are none in the kernel: 2;"
    ):
        prunable_parameters(model)


@pytest.mark.parametrize("name", sorted(STANDARDISED))
def test_standardised_convolutions_are_refused(name: str) -> None:
    """A zero in their weight is none in their kernel: the output still depends on that input."""
    torch.manual_seed(0)
    layer = getattr(timm.layers, name)(2, 3, kernel_size=1)
    with torch.no_grad():
        layer.weight[:, 1] = 0
    inputs = torch.zeros(1, 2, 1, 1)
    outputs = layer(inputs)
    inputs[:, 1] = 1
    assert not torch.allclose(layer(inputs), outputs)
    with pytest.raises(ObtransferError, match="zeros in the weight are none in the kernel"):
        prunable_parameters(nn.Sequential(layer))


def test_padded_convolutions_are_not() -> None:
    model = nn.Sequential(timm.layers.Conv2dSame(3, 4, 3), timm.layers.Linear(4, 4))
    assert prunable_parameters(model) == ["0.weight", "1.weight"]


@pytest.mark.parametrize(
    "model", ["nf_resnet26", "dm_nfnet_f0", "resnetv2_50x1_bit", "vit_small_r26_s32_224", "resnet18"]
)
def test_the_table_knows_them(model: str) -> None:
    found = bool(computes_kernels(build_empty(model)))
    assert (
        timm_table()["architectures"][model].get("computes_kernels", False) == found == (model != "resnet18")
    )


def test_they_are_refused_before_anything_runs() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config["grid"]["backbones"] = ["nf_resnet50.ra2_in1k", "resnetv2_50x1.mine"]
    config["backbones"] = {
        "resnetv2_50x1.mine": {"format": "local", "address": "mine.pth", "architecture": "resnetv2_50x1_bit"}
    }
    with pytest.raises(ObtransferError) as caught:
        load(config)
    for index, name in enumerate(config["grid"]["backbones"]):
        line = f"grid.backbones[{index}]: {name} normalises its kernels in the forward pass"
        assert line in str(caught.value)
