"""Backbones that have a name here, and architectures that timm does not have. Plain values: nothing heavy is imported.

A step gets the entry that it needs as a parameter. This module is left out of every digest of code, so a new line reruns
nothing that exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from obtransfer.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Architecture:
    """What the grid must know of a network (`obtransfer.models.build`) without building it.

    `computes_kernels`: as `obtransfer.models.prunable.computes_kernels` finds it; such networks are refused.
    """

    has_batchnorm: bool
    has_attention: bool
    computes_kernels: bool = False


@dataclass(frozen=True)
class PublishedWeights:
    """Where pre-trained weights are, and how their network reads images.

    Attributes:
        format: a key of `FORMATS`.
        address: a path, a URL, or a name that the format knows.
        preprocessing: of the publisher's own evaluation.
        architecture: the name that `obtransfer.models.build` takes; "" for the first part of the backbone's name.
        sha256: of the file; None where the publisher gives none.
        weights_entry: the entry of the checkpoint that holds the weights; "" for the usual one.
        strip: what the names begin with; names without it are left out.
        key_map: patterns and their replacements, applied in turn to every name; or "order", for the architecture's names in
            its order.
    """

    format: str
    address: str
    preprocessing: Preprocessing
    architecture: str = ""
    sha256: str | None = None
    weights_entry: str = ""
    strip: str = ""
    key_map: tuple[tuple[str, str], ...] | Literal["order"] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From what `dataclasses.asdict` makes of it."""
        key_map = values.get("key_map", ())
        return cls(
            **{
                **values,
                "preprocessing": Preprocessing.read(values["preprocessing"]),
                "key_map": key_map if key_map == "order" else tuple(map(tuple, key_map)),
            }
        )


ARCHITECTURES: dict[str, Architecture] = {
    "miniresnet": Architecture(has_batchnorm=True, has_attention=False),
    "minivit": Architecture(has_batchnorm=False, has_attention=True),
    "vit_small_patch16_224_h12": Architecture(has_batchnorm=False, has_attention=True),
}

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_FBAI = "https://dl.fbaipublicfiles.com"


def _shipped(name: str, sha256: str) -> PublishedWeights:
    pixels = Preprocessing(32, 1.0, "bilinear", (0.32, 0.32, 0.32), (0.22, 0.22, 0.22))
    return PublishedWeights("mini", f"resources/pretrained/{name}.safetensors", pixels, sha256=sha256)


def _published(
    format: str, address: str, interpolation: str, crop: float = 0.875, architecture: str = ""
) -> PublishedWeights:
    """Weights for images of 224 pixels; interpolation and crop are those of the publisher's own evaluation."""
    preprocessing = Preprocessing(224, crop, interpolation, *_IMAGENET)
    return PublishedWeights(format, address, preprocessing, architecture)


BACKBONES: dict[str, PublishedWeights] = {
    name: _shipped(name, sha256)
    for name, sha256 in {
        "miniresnet.supervised": "82e6ff01e68e1eb93a3ae5f9761c7127b11292495ce1ea2bd6efff8121b1730c",
        "miniresnet.mocov2": "4a86667aa595b83682fd6c134a08baf5a9baad886c51af537025186f3ca8e631",
        "miniresnet.dino": "75b6f955569aa13c4cc63040800d2f99d34ed99db04749a65830de477998491a",
        "minivit.supervised": "9223be765f2b376a297f61ba3afd4395809a179471817c6aa66fc94917787011",
        "minivit.mocov2": "cfa85833eb19b9f06713f9aee63c233682a47b23da8c2f905b2a5e18355d5684",
        "minivit.dino": "6bb4a4ba513eb44dd2d647510ff3886f099c31d1b8bb52a4b30c026a3820509a",
    }.items()
} | {
    "resnet50.imagenet": _published("torchvision", "ResNet50_Weights.IMAGENET1K_V1", "bilinear"),
    "resnet50.imagenet_v2": _published("torchvision", "ResNet50_Weights.IMAGENET1K_V2", "bilinear", 0.965),
    "resnet50.mocov2": _published(
        "mocov2", f"{_FBAI}/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar", "bilinear"
    ),
    "resnet50.dino": _published(
        "dino", f"{_FBAI}/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth", "bicubic"
    ),
    # Trained on ImageNet-1k alone, like ResNet-50's supervised weights and DINO's. timm's other supervised weights of
    # this network have seen ImageNet-21k, which contains most transfer tasks.
    "vit_base_patch16_224.imagenet": PublishedWeights(
        "timm_hub", "timm/vit_base_patch16_224.augreg_in1k",
        Preprocessing(224, 0.9, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "vit_base_patch16_224.augreg_in1k",
    ),
    "vit_base_patch16_224.dino_official": _published(
        "dino", f"{_FBAI}/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth", "bicubic"
    ),
    "vit_base_patch16_224.mocov3": _published(
        "mocov3", f"{_FBAI}/moco-v3/vit-b-300ep/vit-b-300ep.pth.tar", "bilinear"
    ),
    "vit_small_patch16_224.dino_official": _published(
        "dino", f"{_FBAI}/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth", "bicubic"
    ),
    "vit_small_patch16_224.mocov3": _published(
        "mocov3", f"{_FBAI}/moco-v3/vit-s-300ep/vit-s-300ep.pth.tar", "bilinear",
        architecture="vit_small_patch16_224_h12",
    ),
}  # fmt: skip
"""The configuration's `backbones` and every tag of timm's architectures join these (`obtransfer.models.published`)."""
