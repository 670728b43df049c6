"""Block-diagonal matrices of one layer: their diagonal and the diagonal of their damped inverse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from obtransfer.errors import ObtransferError

ENTRIES_AT_ONCE = 2**21
"""Matrix entries that are inverted together: 16 MiB in float64, of which about five copies live at a time."""


def block_diagonal(blocks: np.ndarray, num_weights: int) -> np.ndarray:
    """The diagonal entries of the real weights, without the padding of the last block.

    Args:
        blocks: [ceil(n/B), B, B].
        num_weights: n.

    Returns:
        [n], float64.
    """
    return blocks.diagonal(axis1=1, axis2=2).astype(np.float64).reshape(-1)[:num_weights]


def inverse_diagonal(blocks: np.ndarray, num_weights: int, damping: float, name: str) -> np.ndarray:
    """The diagonal of (H_B + λ I)⁻¹ for every block.

    By Cholesky, H_B + λ I = L Lᵀ, so that [(L Lᵀ)⁻¹]_jj = Σ_i (L⁻¹)_ij², a sum of squares: positive by
    construction.
    Cost: B³ per block, memory bounded by chunks of blocks.

    Args:
        blocks: [ceil(n/B), B, B], not changed.
        num_weights: n.
        damping: absolute λ >= 0.
        name: the layer, for messages.

    Returns:
        [n], float64, positive.

    Raises:
        ObtransferError: a block is not positive definite within float64, after damping.
    """
    inverse = np.empty(blocks.shape[:2])
    for start, chunk in _damped_chunks(blocks, num_weights, damping):
        factors = _cholesky(chunk)
        if factors is None:
            raise _not_positive_definite(blocks, num_weights, damping, name)
        inverse[start : start + len(chunk)] = np.square(np.linalg.inv(factors)).sum(axis=1)
    return inverse.reshape(-1)[:num_weights]


def _damped_chunks(blocks: np.ndarray, num_weights: int, damping: float) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first index and the float64 [b, B, B] of H_B + λ I; padding becomes diagonal, hence inert."""
    size = blocks.shape[-1]
    step = max(1, ENTRIES_AT_ONCE // size**2)
    real = num_weights - (len(blocks) - 1) * size
    for start in range(0, len(blocks), step):
        chunk = blocks[start : start + step].astype(np.float64)
        if start + step >= len(blocks) and real < size:
            last = chunk[-1, :real, :real].copy()
            # Of the block's own magnitude: next to a large filler, real pivots would look like rounding.
            chunk[-1] = np.eye(size) * (last.diagonal().max() or damping or 1.0)
            chunk[-1, :real, :real] = last
        chunk[:, np.arange(size), np.arange(size)] += damping
        yield start, chunk


def _cholesky(chunk: np.ndarray) -> np.ndarray | None:
    """Lower factors, or None if a block is not positive definite, rounding errors apart."""
    try:
        factors = np.linalg.cholesky(chunk)
    except np.linalg.LinAlgError:
        return None
    pivots = np.square(factors.diagonal(axis1=1, axis2=2)).min(axis=1)
    return None if (pivots <= _rounding(chunk)).any() else factors


def _rounding(chunk: np.ndarray) -> np.ndarray:
    """[b] what is indistinguishable from zero in each block."""
    largest = chunk.diagonal(axis1=1, axis2=2).max(axis=1)
    return chunk.shape[-1] * np.finfo(np.float64).eps * np.maximum(largest, 0.0)


def _not_positive_definite(
    blocks: np.ndarray, num_weights: int, damping: float, name: str
) -> ObtransferError:
    """Say which block is worst, and what λ every block of the layer would accept."""
    worst, smallest = 0, np.inf
    for start, chunk in _damped_chunks(blocks, num_weights, 0.0):
        eigenvalues = np.linalg.eigvalsh(chunk).min(axis=1)
        if eigenvalues.min() < smallest:
            worst, smallest = start + int(eigenvalues.argmin()), float(eigenvalues.min())
    diagonal = block_diagonal(blocks, num_weights)
    enough = max(-smallest, 0.0) * 1.1 + 1e-6 * float(diagonal.max())
    return ObtransferError(
        f"obs needs positive definite blocks, but in {name} block {worst} of {len(blocks)} "
        f"(size {blocks.shape[-1]}) has the smallest eigenvalue {smallest:.3g}, and the damping "
        f"λ = {damping:.3g} does not lift it above 0. Every block of this layer would do with a damping of "
        f"{enough:.2g} (absolute), that is {enough / diagonal.mean():.2g} (relative to its mean diagonal)"
    )
