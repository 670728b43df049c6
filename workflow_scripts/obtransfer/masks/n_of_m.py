"""Allocations `n_of_m`: keep the n best of every m consecutive inputs, the pattern of sparse matrix units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.errors import ObtransferError
from obtransfer.masks.allocation import check_scores
from obtransfer.masks.sparsity import parse_sparsity


def keep_n_of_m(scores: Arrays, sparsity: str | float | Decimal, m: int) -> dict[str, np.ndarray]:
    """Remove the q m lowest scores of every group of m weights.

    A group has m consecutive entries of axis 1, the inputs, of one output and one kernel position; ties by
    position, the earlier is removed first. For one set of scores, masks of growing sparsity are nested. The
    trap: layers whose number of inputs is no multiple of m stay dense (three input channels, depthwise
    convolutions), since sparse matrix units take whole groups only; `dense_layers` names them. Where they hold
    many weights, the network's sparsity is well below q and not comparable with that of other allocations.

    Source: Mishra et al., *Accelerating sparse deep neural networks*, 2021 (2 of 4).

    Args:
        scores: name to array, higher = keep, no NaN; not changed.
        sparsity: q in [0, 1), with q m a whole number.
        m: size of a group.

    Returns:
        name to bool array of the same shape, True = keep.

    Raises:
        ObtransferError: no scores, NaN, a sparsity that m does not have, or no layer with whole groups.
    """
    removed = parse_sparsity(sparsity) * m
    if removed.denominator != 1:
        possible = ", ".join(str(Decimal(n) / m) for n in range(m))
        raise ObtransferError(
            f"the sparsity must remove a whole number of every {m} weights, so must be one of {possible}; got {sparsity}"
        )
    check_scores(scores)
    dense = dense_layers({name: layer.shape for name, layer in scores.items()}, m)
    if len(dense) == len(scores):
        raise ObtransferError(
            f"groups of {m} inputs need a layer whose number of inputs is a multiple of {m}; got none among "
            f"{', '.join(dense)}; choose another allocation"
        )
    return {
        name: np.ones(layer.shape, dtype=bool) if name in dense else _keep_in_groups(layer, int(removed), m)
        for name, layer in scores.items()
    }


n_of_4 = partial(keep_n_of_m, m=4)
n_of_8 = partial(keep_n_of_m, m=8)
n_of_16 = partial(keep_n_of_m, m=16)


def dense_layers(shapes: Mapping[str, Sequence[int]], m: int) -> list[str]:
    """Layers that stay dense, because their number of inputs (axis 1) is no multiple of m."""
    return [name for name, shape in shapes.items() if len(shape) < 2 or shape[1] % m]


def _keep_in_groups(scores: np.ndarray, removed: int, m: int) -> np.ndarray:
    groups = scores.reshape(scores.shape[0], scores.shape[1] // m, m, -1)
    keep = np.ones(groups.shape, dtype=bool)
    for output, kept in zip(groups, keep, strict=True):  # one at a time: the order takes 8 bytes a score
        lowest = np.argsort(output, axis=1, kind="stable")[:, :removed]
        np.put_along_axis(kept, lowest, False, axis=1)
    return keep.reshape(scores.shape)
