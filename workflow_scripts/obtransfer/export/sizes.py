"""Bytes of a pruned model: as it is, as bits and values, and compressed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from obtransfer.masks.packing import pack, unpack

MASK, VALUES = "mask:", "values:"
_LEVEL = 6


def to_values(state: Mapping[str, np.ndarray], mask: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every masked tensor as one bit a weight and the values that are kept; the others as they are.

    Args:
        state: name to array, removed weights being zero; not changed.
        mask: name to bool array of the same shape, for some of the names.

    Returns:
        ``mask:NAME`` uint8 [ceil(n/8)] and ``values:NAME`` [kept], row-major, or NAME.
    """
    packed = {MASK + name: bits for name, bits in pack(mask).items()}
    values = {VALUES + name: state[name][kept] for name, kept in mask.items()}
    return packed | values | {name: array for name, array in state.items() if name not in mask}


def from_values(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    """The inverse of `to_values`; `shapes` are those of the masked tensors."""
    mask = unpack({name: tensors[MASK + name] for name in shapes}, shapes)
    state = {name: array for name, array in tensors.items() if not name.startswith((MASK, VALUES))}
    for name, kept in mask.items():
        values = tensors[VALUES + name]
        state[name] = np.zeros(kept.shape, dtype=values.dtype)
        state[name][kept] = values
    return state


def count_bytes(state: Mapping[str, np.ndarray], mask: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Bytes of the tensors, without any file's header.

    `dense`: all of them; `mask_and_values`: of `to_values`; `compressed`: those, after zlib at level 6.
    """
    tensors = to_values(state, mask)
    packer = zlib.compressobj(_LEVEL)
    compressed = sum(
        len(packer.compress(np.ascontiguousarray(tensors[name]).tobytes())) for name in sorted(tensors)
    )
    return {
        "dense": sum(array.nbytes for array in state.values()),
        "mask_and_values": sum(array.nbytes for array in tensors.values()),
        "compressed": compressed + len(packer.flush()),
    }
