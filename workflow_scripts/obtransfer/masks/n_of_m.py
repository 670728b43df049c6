"""Allocations `n_of_m`: the n best of every m consecutive inputs, as sparse matrix units want it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from obtransfer.errors import ObtransferError
from obtransfer.masks.allocation import check_scores
from obtransfer.masks.sparsity import parse_sparsity

Scores = Mapping[str, np.ndarray]


def n_of_4(scores: Scores, sparsity: str | float | Decimal) -> dict[str, np.ndarray]:
    """Keep the n = (1 − q) · 4 best of every 4 weights along the input dimension; see `keep_n_of_m`."""
    return keep_n_of_m(scores, sparsity, 4)


def n_of_8(scores: Scores, sparsity: str | float | Decimal) -> dict[str, np.ndarray]:
    """Keep the n = (1 − q) · 8 best of every 8 weights along the input dimension; see `keep_n_of_m`."""
    return keep_n_of_m(scores, sparsity, 8)


def n_of_16(scores: Scores, sparsity: str | float | Decimal) -> dict[str, np.ndarray]:
    """Keep the n = (1 − q) · 16 best of every 16 weights along the input dimension; see `keep_n_of_m`."""
    return keep_n_of_m(scores, sparsity, 16)


def keep_n_of_m(scores: Scores, sparsity: str | float | Decimal, m: int) -> dict[str, np.ndarray]:
    """Remove the q m lowest scores of every group of m weights.

    A group: m consecutive entries of axis 1, the inputs, of one output and one kernel position; ties by
    position, the earlier is removed first. For one set of scores, masks of growing sparsity are nested. The
    trap: layers whose inputs are no multiple of m stay dense, since sparse matrix units take whole groups
    only: three input channels, depthwise convolutions. So the network's sparsity is less than q by their
    share (`dense_layers` names them), and not comparable with that of the other allocations where that share
    is large.

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
            f"of every {m} weights a whole number is removed, so that the sparsity must be one of "
            f"{possible}, but got {sparsity}"
        )
    check_scores(scores)
    dense = dense_layers({name: layer.shape for name, layer in scores.items()}, m)
    if len(dense) == len(scores):
        raise ObtransferError(
            f"groups of {m} inputs need a layer whose number of inputs is a multiple of {m}, but there is "
            f"none among {', '.join(dense)}; choose another allocation"
        )
    return {
        name: np.ones(layer.shape, dtype=bool) if name in dense else _keep_in_groups(layer, int(removed), m)
        for name, layer in scores.items()
    }


def dense_layers(shapes: Mapping[str, Sequence[int]], m: int) -> list[str]:
    """Layers that stay dense: their inputs (axis 1) are no multiple of m."""
    return [name for name, shape in shapes.items() if len(shape) < 2 or shape[1] % m]


def _keep_in_groups(scores: np.ndarray, removed: int, m: int) -> np.ndarray:
    groups = scores.reshape(scores.shape[0], scores.shape[1] // m, m, -1)
    keep = np.ones(groups.shape, dtype=bool)
    for output, kept in zip(groups, keep, strict=True):  # one by one: an order takes eight bytes a score
        lowest = np.argsort(output, axis=1, kind="stable")[:, :removed]
        np.put_along_axis(kept, lowest, False, axis=1)
    return keep.reshape(scores.shape)
