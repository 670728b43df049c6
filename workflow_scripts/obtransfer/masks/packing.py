"""Masks on disk: one bit per weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.errors import ObtransferError


def pack(mask: Arrays) -> dict[str, np.ndarray]:
    """Eight weights per byte, row-major, first weight in the highest bit; zeros fill the last byte.

    Args:
        mask: name to bool array, True = keep; not changed.

    Returns:
        name to uint8 [ceil(n/8)].

    Raises:
        ObtransferError: a layer is not bool.
    """
    wrong = [f"{name} is {layer.dtype}" for name, layer in mask.items() if layer.dtype != np.bool_]
    if wrong:
        raise ObtransferError(f"a mask must be bool; got {', '.join(wrong)}")
    return {name: np.packbits(layer.reshape(-1)) for name, layer in mask.items()}


def unpack(packed: Arrays, shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """The inverse of `pack`.

    Args:
        packed: name to uint8 [ceil(n/8)].
        shapes: name to shape, for the same names; their order is the order of the result.

    Returns:
        name to bool array of the given shape, True = keep.

    Raises:
        ObtransferError: names or lengths that do not fit, or bits set beyond the end.
    """
    return {name: _unpack_layer(name, packed[name], tuple(shapes[name])) for name in _names(packed, shapes)}


def _names(packed: Arrays, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    differing = sorted(packed.keys() ^ shapes.keys())
    if differing:
        raise ObtransferError(
            f"packed mask and shapes must name the same layers; got only one of the two for {differing}"
        )
    return list(shapes)


def _unpack_layer(name: str, packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    if packed.dtype != np.uint8 or packed.shape != (-(-size // 8),):
        raise ObtransferError(
            f"the packed mask of {name} must be uint8 [{-(-size // 8)}] for {size} weights of shape {list(shape)}; "
            f"got {packed.dtype} {list(packed.shape)}"
        )
    bits = np.unpackbits(packed).astype(bool)
    if bits[size:].any():
        raise ObtransferError(
            f"the packed mask of {name} must have no bits beyond its {size} weights; got some; check its shape"
        )
    return bits[:size].reshape(shape)
