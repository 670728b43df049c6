"""Exact selection of the lowest scores."""

from __future__ import annotations

import numpy as np

from obtransfer.errors import ObtransferError


def keep_mask(scores: np.ndarray, num_removed: int) -> np.ndarray:
    """Keep all but the `num_removed` lowest scores; among equal scores the lower position goes first.

    The same as ``np.argsort(scores, kind="stable")[:num_removed]``, in linear time. A threshold alone
    would not do: ``score <= threshold`` removes *all* weights that tie with it, and equal scores are common
    (dead filters have many zeros).

    Args:
        scores: [n], higher = keep; infinity is allowed, NaN is not; not changed.
        num_removed: 0 to n.

    Returns:
        [n] bool, True = keep, with exactly `num_removed` False.

    Raises:
        ObtransferError: NaN among the scores, or a count out of range.
    """
    if scores.ndim != 1 or not 0 <= num_removed <= scores.size:
        raise ObtransferError(
            f"needed a flat array of scores and a number of weights to remove in 0 to {scores.size}, "
            f"but got shape {list(scores.shape)} and {num_removed}"
        )
    unordered = int(np.count_nonzero(np.isnan(scores)))
    if unordered:
        raise ObtransferError(f"scores must be ordered, but {unordered} of {scores.size} are NaN")
    if num_removed == 0:
        return np.ones(scores.shape, dtype=bool)
    threshold = np.partition(scores, num_removed - 1)[num_removed - 1]
    keep = scores > threshold
    tied = np.flatnonzero(scores == threshold)
    num_below = scores.size - int(np.count_nonzero(keep)) - tied.size
    keep[tied[num_removed - num_below :]] = True
    return keep
