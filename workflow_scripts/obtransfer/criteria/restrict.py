"""Statistics of a model some of whose weights are already removed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.errors import ObtransferError

SMALLEST_SHARE = 1e-6
"""What the filler is at least, so that it never makes a block singular: of the survivors' mean diagonal, or
of the layer's in a block without any."""


def restrict(
    statistics: Mapping[str, np.ndarray], mask: Mapping[str, np.ndarray], structure: str
) -> dict[str, np.ndarray]:
    """The statistics with the removed weights held at zero.

    In blocks, rows and columns of removed weights become zero beside their diagonal, which becomes inert: the
    inverse of the survivors is then exactly that of their own sub-matrix, so that `obs` knows that a removed
    weight cannot make up for another one. The filler is the mean of the block's removed diagonal, which
    leaves the layer's mean diagonal, hence a relative λ, as it is (equal to that of `obd` on the same model),
    unless that is less than a millionth of the survivors' mean. Of the other structures nothing refers to
    another weight (diagonal, per_weight), or nothing can be taken out (kfac, ekfac): they come back as they
    are.

    Args:
        statistics: by name, blocks [ceil(n/B), B, B] or any other structure; not changed.
        mask: name to bool array, True = keep, for every layer of the statistics.
        structure: "block", or any other.

    Returns:
        The same names, shapes and types; layers without removed weights are the same arrays.

    Raises:
        ObtransferError: blocks of a layer that the mask lacks, or of another number of weights.
    """
    if structure != "block":
        return dict(statistics)
    missing = [name for name in statistics if name not in mask]
    if missing:
        raise ObtransferError(
            f"restricting blocks needs a mask of their layers, but lacks {', '.join(missing)}"
        )
    return {name: _restrict_layer(blocks, mask[name], name) for name, blocks in statistics.items()}


def _restrict_layer(blocks: np.ndarray, mask: np.ndarray, name: str) -> np.ndarray:
    count, size, _ = blocks.shape
    if count != -(-mask.size // size):
        raise ObtransferError(
            f"restricting blocks needs the mask of the same weights, but {name} has {count} blocks of size "
            f"{size}, and a mask of {mask.size} weights"
        )
    if mask.all():
        return blocks
    padding = count * size - mask.size
    keep = np.pad(mask.reshape(-1), (0, padding), constant_values=True).reshape(count, size)
    real = np.pad(np.ones(mask.size, dtype=bool), (0, padding)).reshape(count, size)
    diagonal = blocks.diagonal(axis1=1, axis2=2).astype(np.float64)
    survivors = keep & real
    reference = np.where(survivors.any(axis=1), _means(diagonal, survivors), diagonal[real].mean())
    filler = np.maximum(_means(diagonal, ~keep), SMALLEST_SHARE * reference)
    restricted = blocks * (keep[:, :, None] & keep[:, None, :])
    block, weight = np.nonzero(~keep)
    restricted[block, weight, weight] = filler[block]
    return restricted


def _means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[b] the mean of the chosen entries of each row, 0 where there are none."""
    return np.where(chosen, values, 0.0).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)
