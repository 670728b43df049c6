"""MoCo v2's ResNet-50 (github.com/facebookresearch/moco): the query encoder of a training checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.models.checkpoint import select, state_dict_of
from obtransfer.models.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUMS = {
    "moco_v2_200ep_pretrain.pth.tar": "md5:59fd9945",
    "moco_v2_800ep_pretrain.pth.tar": "md5:a04e12f8",
}
"""File name -> the first digits of its MD5, from the table of models in the publisher's README."""

ENCODER = "module.encoder_q."
DROPPED = (
    "module.encoder_q.fc.",  # the projection head: 0 and 2 of an MLP (one layer in MoCo v1)
    "module.encoder_k.",  # the momentum encoder, with its head
    "module.queue",  # the negative examples, and queue_ptr
)


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The query encoder without its projection head; torchvision's names of a ResNet are timm's.

    Args:
        checkpoint: ``{"epoch", "arch", "state_dict", ...}``; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    return select(
        state_dict_of(checkpoint, "state_dict", f"MoCo v2 {architecture}"), prefix=ENCODER, dropped=DROPPED
    )


FORMAT = Format(convert, checksums=CHECKSUMS)
