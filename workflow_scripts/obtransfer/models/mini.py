"""The small backbones that ship in resources/pretrained: how their files become a state_dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def addresses(entry: Mapping[str, Any]) -> dict[str, str]:
    """The file's name in the lock file -> where it is: here both are the address itself."""
    return {entry["address"]: entry["address"]}


def convert(state_dict: Mapping[str, Tensor], architecture: str = "") -> dict[str, Tensor]:
    """The shipped fp16 weights as float32; names are already those of `build`, counters stay integers.

    Args:
        state_dict: as read from the file; not changed.
        architecture: not looked at.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    return {name: value.float() if value.is_floating_point() else value for name, value in state_dict.items()}
