"""A file of yours: safetensors or a state_dict of torch.save, with timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from obtransfer.models.build import classifier
from obtransfer.models.checkpoint import select, unwrapped
from obtransfer.models.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor

_PREFIXES = ("_orig_mod.", "module.")  # of torch.compile and of DistributedDataParallel


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The backbone of a model with timm's names, with or without its classifier.

    The weights may be under ``state_dict`` or ``model``, beside a training script's other state. The classifier (timm's
    `classifier` of the architecture, with any number of classes) is dropped.

    Args:
        checkpoint: as read from the file; not changed.
        architecture: timm's name.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    state = unwrapped(checkpoint, f"the file of {architecture}")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return select(state, dropped=[f"{name}." for name in classifier(architecture)])


FORMAT = Format(convert)
