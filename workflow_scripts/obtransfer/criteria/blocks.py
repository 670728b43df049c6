"""Block-diagonal matrices of one layer: their diagonal and the diagonal of their damped inverse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ENTRIES_AT_ONCE = 2**17
"""Matrix entries in one chunk: 1 MiB in float64, so that copies stay in the cache."""
SMALL = 32
"""Below this block size, one call of LAPACK per block costs more than its arithmetic."""


class NotPositiveDefinite(Exception):
    """Some blocks have no Cholesky factorisation.

    Attributes:
        indices: [f] these blocks.
        pivots: [f] the pivot (squared diagonal entry of the factor) at which each fails, damping included.
        enough: [f] a λ that is enough for each: 1.1 times what lifts its smallest eigenvalue to 0, plus a
            millionth of the layer's largest diagonal entry.
    """

    def __init__(self, indices: np.ndarray, pivots: np.ndarray, enough: np.ndarray) -> None:
        super().__init__(f"blocks {indices.tolist()} are not positive definite")
        self.indices, self.pivots, self.enough = indices, pivots, enough


def block_diagonal(blocks: np.ndarray, num_weights: int) -> np.ndarray:
    """The diagonal entries of the real weights, without the padding of the last block.

    Args:
        blocks: [ceil(n/B), B, B].
        num_weights: n.

    Returns:
        [n], float64.
    """
    return blocks.diagonal(axis1=1, axis2=2).astype(np.float64).reshape(-1)[:num_weights]


def inverse_diagonal(blocks: np.ndarray, num_weights: int, damping: float | np.ndarray) -> np.ndarray:
    """The diagonal of (H_B + λ I)⁻¹ for every block.

    With the Cholesky factor H_B + λ I = L Lᵀ, [(L Lᵀ)⁻¹]_jj = Σ_i (L⁻¹)_ij². This is positive by construction,
    and only the triangle L⁻¹ is computed. The arithmetic is float64: float32 has no correct digit near
    singularity. Cost: 2/3 B³ multiplications and as many additions per block. Memory: a few chunks of blocks.

    Args:
        blocks: [ceil(n/B), B, B], symmetric (only the lower triangle is read); not changed.
        num_weights: n.
        damping: absolute λ >= 0 of all blocks, or of each: [ceil(n/B)].

    Returns:
        [n], float64, positive.

    Raises:
        NotPositiveDefinite: damped blocks are not positive definite within float64.
    """
    inverse, pivots = np.empty(blocks.shape[:2]), np.empty(len(blocks))
    bad = np.zeros(len(blocks), dtype=bool)
    for start, chunk in damped_chunks(blocks, num_weights, damping):
        chosen = slice(start, start + len(chunk))
        negligible = rounding(chunk)
        inverse[chosen], pivots[chosen] = _invert(chunk)
        bad[chosen] = ~(pivots[chosen] > negligible)
    if bad.any():
        raise NotPositiveDefinite(np.flatnonzero(bad), pivots[bad], _enough(blocks, num_weights, bad))
    return inverse.reshape(-1)[:num_weights]


def damped_chunks(
    blocks: np.ndarray, num_weights: int, damping: float | np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield index of the first block and H_B + λ I in float64, [b, B, B]; padding becomes diagonal, hence inert.

    Each chunk overwrites the last one: fresh pages of memory would cost as much as some inverses.
    """
    size = blocks.shape[-1]
    added = np.broadcast_to(np.asarray(damping, dtype=np.float64), len(blocks))
    step = min(len(blocks), max(1, ENTRIES_AT_ONCE // size**2))
    real = num_weights - (len(blocks) - 1) * size
    memory = np.empty((step, size, size))
    for start in range(0, len(blocks), step):
        chunk = memory[: len(blocks) - start]
        chunk[:] = blocks[start : start + step]
        if start + step >= len(blocks) and real < size:
            last = chunk[-1, :real, :real].copy()
            # Of the block's own magnitude: next to a large filler, real pivots would look like rounding.
            chunk[-1] = np.eye(size) * (last.diagonal().max() or added[-1] or 1.0)
            chunk[-1, :real, :real] = last
        chunk[:, np.arange(size), np.arange(size)] += added[start : start + step, None]
        yield start, chunk


def rounding(chunk: np.ndarray) -> np.ndarray:
    """[b] the largest value in each block of [b, B, B] that rounding makes indistinguishable from zero."""
    largest = chunk.diagonal(axis1=1, axis2=2).max(axis=1)
    return chunk.shape[-1] * np.finfo(np.float64).eps * np.maximum(largest, 0.0)


def _invert(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse's diagonal [b, B] and the smallest pivot [b] of every block; `chunk` may be overwritten."""
    if chunk.shape[-1] < SMALL:
        try:
            return _invert_side_by_side(np.linalg.cholesky(chunk))
        except np.linalg.LinAlgError:
            pass  # the other way finds the block
    return _invert_one_by_one(chunk)


def _invert_side_by_side(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L⁻¹ row by row, with the blocks along the fastest axis."""
    lower = np.ascontiguousarray(factors.transpose(1, 2, 0))
    inverse = np.zeros_like(lower)
    for i in range(len(lower)):
        inverse[i, i] = 1.0 / lower[i, i]
        if i:
            np.einsum("kb,kjb->jb", lower[i, :i], inverse[:i, :i], out=inverse[i, :i])
            inverse[i, :i] *= -inverse[i, i]
    pivots = np.square(factors.diagonal(axis1=1, axis2=2)).min(axis=1)
    return np.square(inverse, out=inverse).sum(axis=0).T, pivots


def _invert_one_by_one(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg.lapack import dpotrf, dtrtri

    diagonals, pivots = np.full(chunk.shape[:2], np.nan), np.empty(len(chunk))
    for index, block in enumerate(chunk):
        # LAPACK stores columns: the transpose has the same memory, and its upper triangle is our lower one.
        factor, failed = dpotrf(block.T, lower=0, clean=1, overwrite_a=1)
        if failed:
            pivots[index] = factor[failed - 1, failed - 1]
            continue
        pivots[index] = np.square(factor.diagonal()).min()
        inverse, failed = dtrtri(factor, lower=0, overwrite_c=1)
        if not failed:
            np.einsum("ij,ij->i", inverse, inverse, out=diagonals[index])
    return diagonals, pivots


def _enough(blocks: np.ndarray, num_weights: int, bad: np.ndarray) -> np.ndarray:
    """[f] a λ that is enough for each of the bad blocks."""
    smallest = [
        np.linalg.eigvalsh(block)[0]
        for start, chunk in damped_chunks(blocks, num_weights, 0.0)
        for block in chunk[bad[start : start + len(chunk)]]
    ]
    margin = 1e-6 * block_diagonal(blocks, num_weights).max()
    return 1.1 * np.maximum(-np.array(smallest), 0.0) + margin
