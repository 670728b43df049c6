"""The small backbones that ship in resources/pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from obtransfer.models.formats.base import REPOSITORY, Format

if TYPE_CHECKING:
    from torch import Tensor


def locate(address: str) -> dict[str, str]:
    """A shipped file: the address is its path in the repository."""
    return {f"file:{address}": str(REPOSITORY / address)}


def convert(state_dict: Mapping[str, Tensor], architecture: str = "") -> dict[str, Tensor]:
    """The shipped fp16 weights as float32; names are already those of `build`, counters stay integers.

    Args:
        state_dict: as read from the file; not changed.
        architecture: not read.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.
    """
    return {name: value.float() if value.is_floating_point() else value for name, value in state_dict.items()}


FORMAT = Format(convert, locate=locate)
