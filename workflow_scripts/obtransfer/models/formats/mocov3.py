"""MoCo v3's vision transformers (github.com/facebookresearch/moco-v3): the base encoder of a training checkpoint.

The trap: their ViT-S has 12 heads of 32, where timm's and DINO's have 6 of 64 with tensors of the same shapes. It is an
architecture of its own here (`vit_small_patch16_224_h12` in `obtransfer.models.build`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.models.checkpoint import select, state_dict_of
from obtransfer.models.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor

ENCODER = "module.base_encoder."
DROPPED = (
    "module.base_encoder.head.",  # the projection head of a ViT: linear layers and BatchNorm
    "module.base_encoder.fc.",  # that of a ResNet
    "module.momentum_encoder.",
    "module.predictor.",
)


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The base encoder without its projection head, with timm's names; the position embedding is fixed, but stored.

    Args:
        checkpoint: ``{"epoch", "arch", "state_dict", ...}``; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    return select(
        state_dict_of(checkpoint, "state_dict", f"MoCo v3 {architecture}"), prefix=ENCODER, dropped=DROPPED
    )


FORMAT = Format(convert)
