"""torchvision's weights: ResNets, which have timm's names, and vision transformers, which have others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError
from obtransfer.models.checkpoint import select, state_dict_of
from obtransfer.models.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor

_DROPPED = ("fc.", "heads.")
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


def locate(address: str) -> dict[str, str]:
    """The URL of torchvision's weights of that name, such as ``ResNet50_Weights.IMAGENET1K_V1``.

    Raises:
        ObtransferError: torchvision does not know the name.
    """
    from torchvision.models import get_weight

    try:
        url = get_weight(address).url
    except (ValueError, AttributeError, KeyError) as error:
        raise ObtransferError(
            f"torchvision has no weights called {address!r} ({error}); write a name such as "
            "ResNet50_Weights.IMAGENET1K_V1, a path that begins with ./ or /, or a URL"
        ) from error
    return {url: url}


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The backbone without its classifier, with timm's names.

    Families other than ResNet and ViT keep torchvision's names, which strict loading then lists. timm has most of those
    weights under its own names, with tags such as ``tv_in1k``.

    Args:
        checkpoint: name to tensor; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    state = select(state_dict_of(checkpoint, "", f"torchvision's {architecture}"), dropped=_DROPPED)
    return {_vit(name): value for name, value in state.items()} if "class_token" in state else state


def _vit(name: str) -> str:
    for pattern, replacement in _VIT:
        name = re.sub(pattern, replacement, name)
    return name


FORMAT = Format(convert, locate=locate, digits_in_name=True)
