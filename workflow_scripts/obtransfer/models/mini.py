"""The small backbones that ship in resources/pretrained: how their files become a state_dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The shipped fp16 weights as float32; names are already those of `build`, counters stay integers.

    Args:
        state_dict: as read from the file; not changed.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    return {name: value.float() if value.is_floating_point() else value for name, value in state_dict.items()}
