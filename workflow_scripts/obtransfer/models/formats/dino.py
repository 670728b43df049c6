"""DINO's backbones (github.com/facebookresearch/dino): the files ``dino_*_pretrain.pth``, which have no head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.models.checkpoint import select, state_dict_of
from obtransfer.models.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The file is a state_dict. Its names are timm's, of a ResNet and of a ViT.

    Args:
        checkpoint: name to tensor; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    return select(state_dict_of(checkpoint, "", f"DINO {architecture}"))


FORMAT = Format(convert)
