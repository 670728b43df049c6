"""Statistics of several shares of the examples as one of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from obtransfer.errors import ObtransferError

Statistics = Mapping[str, NDArray[Any]]

BASES = ("input_basis", "output_basis")
"""Tensors of `ekfac` that are not means over examples: they must be the same in all shares."""

SAME_BASIS = 1e-6
"""Entries of unit vectors that differ by no more than rounding in float32."""


def merge(parts: Sequence[tuple[Statistics, int]]) -> dict[str, NDArray[Any]]:
    """1/N Σ_i N_i · s_i, for shares of N_i examples with statistics s_i, in float64.

    Exact for whatever is a mean over examples: `diagonal`, `block`, `per_weight`, the factors of `kfac`, the
    eigenvalues of `ekfac` in one basis. Memory: one tensor in float64 beside the result.

    Trap: shares of a sampled estimator must have numbered their examples apart (`indices`, or `first_index`),
    or examples of two shares get the same draws.

    Args:
        parts: (name -> array, number of examples), with the same names and shapes; not changed.

    Returns:
        name -> array in the type of the first share.

    Raises:
        ObtransferError: no shares, a number of examples below 1, names, shapes or bases that differ.
    """
    _check(parts)
    counts = [count for _, count in parts]
    first = parts[0][0]
    merged = {}
    for name, array in first.items():
        if name.rpartition(":")[2] in BASES:
            merged[name] = array.copy()
            continue
        total = np.zeros(array.shape, dtype=np.float64)
        for statistics, count in parts:
            total += np.multiply(statistics[name], count, dtype=np.float64)
        merged[name] = (total / sum(counts)).astype(array.dtype)
    return merged


def _check(parts: Sequence[tuple[Statistics, int]]) -> None:
    if not parts:
        raise ObtransferError("merging needs the statistics of at least one share; got none")
    first = parts[0][0]
    for number, (statistics, count) in enumerate(parts, start=1):
        if count < 1:
            raise ObtransferError(
                f"merging needs at least one example in every share; share {number} has {count}"
            )
        differing = sorted(statistics.keys() ^ first.keys())
        if differing:
            raise ObtransferError(
                "merging needs shares with the same tensors: of the same model, layers and structure; only in "
                f"one of the shares 1 and {number}: {', '.join(differing)}"
            )
        for name, array in statistics.items():
            if array.shape != first[name].shape:
                raise ObtransferError(
                    f"merging needs shares with the same shapes; {name} is {first[name].shape} in share 1 and "
                    f"{array.shape} in share {number}: merge shares of the same model and block size"
                )
            if name.rpartition(":")[2] in BASES and not _same_basis(first[name], array):
                raise ObtransferError(
                    f"merging ekfac needs shares with the same bases; {name} differs between share 1 and share "
                    f"{number}. Merge the kfac shares first, and pass the result as `factors` to every share"
                )


def _same_basis(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return bool(np.abs(first - second).max(initial=0) <= SAME_BASIS)
