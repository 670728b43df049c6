"""Bytes of dense, packed and compressed weights, exactly."""

import zlib

import numpy as np
from obtransfer.export.costs import bytes_section
from obtransfer.masks.mask import Mask


def example() -> tuple[dict[str, np.ndarray], Mask]:
    mask = {"a": np.array([[True, False, False], [False, True, True]]), "b": np.zeros((2, 5), dtype=bool)}
    weights = {
        name: np.arange(1, kept.size + 1, dtype=np.float32).reshape(kept.shape) for name, kept in mask.items()
    }
    state = {name: np.where(kept, weights[name], np.float32(0)) for name, kept in mask.items()}
    return state | {"bias": np.full(4, 0.5, dtype=np.float32), "counter": np.array(7, dtype=np.int64)}, Mask(
        mask
    )


def test_bytes_by_hand() -> None:
    sizes = bytes_section(*example())
    others = 4 * 4 + 8
    assert sizes["dense"] == 6 * 4 + 10 * 4 + others
    assert sizes["mask_and_values"] == (1 + 3 * 4) + (2 + 0) + others


def test_compressed_is_zlib_of_the_very_bytes() -> None:
    state, mask = example()
    stream = (
        state["bias"].tobytes() + state["counter"].tobytes() + bytes([0b10001100]) + bytes(2)
        + np.array([1, 5, 6], dtype=np.float32).tobytes()
    )  # fmt: skip
    assert bytes_section(state, mask)["compressed"] == len(zlib.compress(stream, 6))
