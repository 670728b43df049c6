"""A file of yours: safetensors or torch.save's, with timm's names or with a key map to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.models.build import classifier
from obtransfer.models.checkpoint import select, state_dict_of
from obtransfer.models.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The backbone of a model with timm's names, with or without its classifier.

    The classifier (timm's `classifier` of the architecture, with any number of classes) is dropped.

    Args:
        checkpoint: name to tensor, as `Format.take` leaves them; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    state = state_dict_of(checkpoint, "", f"the file of {architecture}")
    return select(state, dropped=[f"{name}." for name in classifier(architecture)])


FORMAT = Format(convert, reads=("weights_entry", "strip", "key_map"))
