"""Exact selection of the lowest scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from obtransfer.errors import ObtransferError
from obtransfer.masks.rank import chunks, nth_lowest


def keep_mask(scores: np.ndarray, num_removed: int) -> np.ndarray:
    """`keep_masks` of one layer."""
    return keep_masks([scores], num_removed)[0]


def keep_masks(layers: Sequence[np.ndarray], num_removed: int) -> list[np.ndarray]:
    """Keep all but the `num_removed` lowest scores of all layers; of equal scores the earlier goes first.

    Equal to ``np.argsort(np.concatenate(flat layers), kind="stable")[:num_removed]``, in linear time and without the
    concatenation. The trap: ``score <= threshold`` removes *all* weights that tie with the threshold, and equal
    scores are common (dead filters have many zeros).
    Cost: two reads of the scores besides those of `nth_lowest`; memory: the masks and that of `nth_lowest`.

    Args:
        layers: float arrays of any shapes, higher = keep; infinity is allowed, NaN is not; not changed.
        num_removed: 0 to P, the number of scores.

    Returns:
        bool arrays of the same shapes, True = keep, with exactly `num_removed` False.

    Raises:
        ObtransferError: NaN among the scores, or a count out of range.
    """
    total = sum(layer.size for layer in layers)
    if not 0 <= num_removed <= total:
        raise ObtransferError(
            f"the number of weights to remove must be between 0 and {total}, the number of scores; got {num_removed}"
        )
    kind = np.dtype(np.float32 if all(layer.dtype == np.float32 for layer in layers) else np.float64)
    unordered = sum(int(np.count_nonzero(np.isnan(chunk))) for _, chunk in chunks(layers, kind))
    if unordered:
        raise ObtransferError(f"scores must not be NaN; got {unordered} of {total}")
    if num_removed == 0:
        return [np.ones(layer.shape, dtype=bool) for layer in layers]
    threshold, below = nth_lowest(layers, kind, num_removed - 1)
    return _write(layers, kind, threshold, num_removed - below)


def _write(
    layers: Sequence[np.ndarray], kind: np.dtype, threshold: np.floating, ties: int
) -> list[np.ndarray]:
    """Masks without what is below the threshold and without the first `ties` of what equals it."""
    masks = [np.empty(layer.size, dtype=bool) for layer in layers]
    for (number, start), chunk in chunks(layers, kind):
        keep = masks[number][start : start + chunk.size]
        if not ties:
            np.greater_equal(chunk, threshold, out=keep)
            continue
        np.greater(chunk, threshold, out=keep)
        tied = np.flatnonzero(chunk == threshold)
        keep[tied[ties:]] = True
        ties -= min(ties, tied.size)
    return [mask.reshape(layer.shape) for mask, layer in zip(masks, layers, strict=True)]
