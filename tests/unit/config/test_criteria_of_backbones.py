"""Criteria that can't be computed for a backbone are refused before anything runs, with those that can."""

import copy
from typing import Any

import pytest
import yaml
from obtransfer.config import load
from obtransfer.errors import ObtransferError
from project import ROOT

DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def grid(backbones: list[str], criteria: list[str], **own: Any) -> dict[str, Any]:
    config = copy.deepcopy(DEFAULT)
    config["grid"] |= {"backbones": backbones, "criteria": criteria}
    config["criteria"] |= {
        "by_hessian": {"criterion": "obd", "estimator": "hessian", "damping": 0, "negative": "abs"}
    }
    config["backbones"] = own
    return config


def errors(config: dict[str, Any]) -> list[str]:
    with pytest.raises(ObtransferError) as caught:
        load(config)
    return str(caught.value).split("\n  ")[1:]


@pytest.mark.parametrize(
    "backbone",
    [
        "swin_tiny_patch4_window7_224.ms_in1k",
        "swinv2_cr_tiny_ns_224.sw_in1k",
        "maxvit_tiny_tf_224.in1k",
        "davit_tiny.msft_in1k",
        "mvitv2_tiny.fb_in1k",
        "mobilevit_s.cvnets_in1k",
        "xcit_nano_12_p16_224.fb_in1k",
        "tiny_vit_5m_224.in1k",
        "gcvit_tiny.in1k",
        "tnt_s_patch16_224.in1k",
        "eva02_tiny_patch14_224.mim_in22k",
    ],
)
def test_curvature_of_layers_that_hooks_do_not_see(backbone: str) -> None:
    obd, obs = errors(grid([backbone, "minivit.dino"], ["magnitude", "obd", "obs", "by_hessian", "snip"]))
    reason = (
        f"needs the gradients of single examples, which can't be computed for {backbone}; possible there: "
    )
    allowed = "magnitude, obd with hessian, snip, grasp, synflow, random"
    assert obd == f"grid.criteria[1]: obd {reason}{allowed}"
    assert obs == f"grid.criteria[2]: obs {reason}{allowed}"
    assert len(obd) < 300


def test_your_own_weights_of_such_a_network() -> None:
    entry = {"format": "local", "address": "a.pth", "architecture": "swin_tiny_patch4_window7_224"}
    config = grid(["net.mine"], ["obs"], **{"net.mine": entry})
    (line,) = errors(config)
    assert "which can't be computed for net.mine; possible there: magnitude," in line


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18.a1_in1k",
        "coatnet_0_rw_224.sw_in1k",
        "mobilevitv2_050.cvnets_in1k",
        "vit_small_patch16_dinov3.lvd1689m",
        "tf_efficientnet_lite0.in1k",
        "tf_mobilenetv3_small_minimal_100.in1k",
        "vit_tiny_patch16_224.augreg_in21k",
        "convnext_tiny.fb_in22k",
    ],
)
def test_others_are_accepted(backbone: str) -> None:
    load(grid([backbone], ["magnitude", "obd", "obs", "by_hessian", "snip", "random"]))
