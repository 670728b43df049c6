"""torchvision's weights: ResNets, whose names are timm's, and vision transformers, whose names are not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError
from obtransfer.models.checkpoint import select, state_dict_of

if TYPE_CHECKING:
    from torch import Tensor

DIGITS_IN_NAME = True
"""The first digits of the SHA-256 stand in a file's name, as torch.hub wants it."""

DROPPED = ("fc.", "heads.")
"""The classifiers, of a ResNet and of a ViT."""

_VIT = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(linear_1|0)\.", ".mlp.fc1."),  # 0 and 3 in files from before torchvision 0.14
    (r"\.mlp\.(linear_2|3)\.", ".mlp.fc2."),
)


def addresses(entry: Mapping[str, Any]) -> dict[str, str]:
    """The file's name in the lock file -> where it is.

    The entry's address is a name of torchvision's, as ``ResNet50_Weights.IMAGENET1K_V1``, which knows the address of
    the file; the first digits of its SHA-256 stand in the file's name.

    Raises:
        ObtransferError: torchvision does not know the name.
    """
    from torchvision.models import get_weight

    if entry["address"].startswith(("http://", "https://", "file:")):
        return {entry["address"]: entry["address"]}
    try:
        url = get_weight(entry["address"]).url
    except (ValueError, AttributeError, KeyError) as error:
        raise ObtransferError(
            f"torchvision has no weights called {entry['address']!r} ({error}); needed a name as "
            "ResNet50_Weights.IMAGENET1K_V1, with its class and number"
        ) from error
    return {url: url}


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The backbone without its classifier, with timm's names.

    Other families than ResNet and ViT keep torchvision's names, which strict loading then lists; timm has most of those
    weights under its own names, with tags such as ``tv_in1k``.

    Args:
        checkpoint: name to tensor; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    state = select(state_dict_of(checkpoint, "", f"torchvision's {architecture}"), dropped=DROPPED)
    return {_vit(name): value for name, value in state.items()} if "class_token" in state else state


def _vit(name: str) -> str:
    for pattern, replacement in _VIT:
        name = re.sub(pattern, replacement, name)
    return name
