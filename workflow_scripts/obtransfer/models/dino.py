"""DINO's backbones (github.com/facebookresearch/dino): the files ``dino_*_pretrain.pth``, without any head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.models.checkpoint import select, state_dict_of

if TYPE_CHECKING:
    from torch import Tensor

DROPPED: tuple[str, ...] = ()
"""Nothing: the ResNet-50 has no fc, the transformers no head."""


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The file is a state_dict; torchvision's names of a ResNet and DINO's of a ViT are timm's.

    Args:
        checkpoint: name to tensor; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    return select(state_dict_of(checkpoint, "", f"DINO {architecture}"), dropped=DROPPED)
