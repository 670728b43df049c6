"""Merge the statistics of several shares of the examples into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from obtransfer.curvature.structures.base import Structure
from obtransfer.errors import ObtransferError, listed

Statistics = Mapping[str, NDArray[Any]]

SAME_BASIS = 1e-6
"""Entries of unit vectors that differ by no more than rounding in float32."""


def merge(shares: Sequence[tuple[Statistics, int]], structure: Structure) -> dict[str, NDArray[Any]]:
    """1/N Σ_i N_i · s_i, for shares of N_i examples with statistics s_i, in float64.

    Exact for whatever is a mean over examples: all but the `constant` arrays of a structure, which must be the same in
    all shares. Memory: one array in float64 beside the result.

    Trap: shares of a sampled estimator must number their examples apart (`indices`), or examples of two shares get the
    same draws.

    Args:
        shares: (name -> array, number of examples), with the same names and shapes; not changed.
        structure: of the statistics.

    Returns:
        name -> array in the type of the first share.

    Raises:
        ObtransferError: no shares, a number of examples below 1, names, shapes or constant arrays that differ.
    """
    _check(shares, structure)
    counts = [count for _, count in shares]
    merged = {}
    for name, array in shares[0][0].items():
        if name.endswith(structure.constant):
            merged[name] = array.copy()
            continue
        total = np.zeros(array.shape, dtype=np.float64)
        for statistics, count in shares:
            total += np.multiply(statistics[name], count, dtype=np.float64)
        merged[name] = (total / sum(counts)).astype(array.dtype)
    return merged


def _check(shares: Sequence[tuple[Statistics, int]], structure: Structure) -> None:
    if not shares:
        raise ObtransferError("merging needs the statistics of at least one share; got none")
    first = shares[0][0]
    for number, (statistics, count) in enumerate(shares, start=1):
        if count < 1:
            raise ObtransferError(
                f"merging needs at least one example in every share; got {count} in share {number}"
            )
        differing = sorted(statistics.keys() ^ first.keys())
        if differing:
            raise ObtransferError(
                "merging needs shares of the same model, layers and structure; got arrays that only one of the shares 1 "
                f"and {number} has: {listed(differing)}"
            )
        for name, array in statistics.items():
            if array.shape != first[name].shape:
                raise ObtransferError(
                    f"merging needs shares with the same shapes; got {name} of {first[name].shape} in share 1 and of "
                    f"{array.shape} in share {number}; merge shares of the same model and block size"
                )
            if name.endswith(structure.constant) and not _same_basis(first[name], array):
                raise ObtransferError(
                    f"merging {structure.name} needs shares with the same bases; got another {name} in share {number} "
                    f"than in share 1; merge the {structure.prior} shares first, and give every share the result as `prior`"
                )


def _same_basis(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return bool(np.abs(first - second).max(initial=0) <= SAME_BASIS)
