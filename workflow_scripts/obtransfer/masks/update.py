"""The OBS update: surviving weights compensate for the removed ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.criteria.blocks import SMALL, damped_chunks, rounding
from obtransfer.errors import ObtransferError


def joint_update(
    weights: Arrays,
    mask: Arrays,
    blocks: Arrays,
    absolute_damping: Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Remove all masked weights of every block together, and move the survivors to the minimum of the loss.

    δ = −H⁻¹ E (Eᵀ H⁻¹ E)⁻¹ w_R minimises ½ δᵀ H δ over all δ with δ_R = −w_R, for H = H_B + λ I and E whose columns
    pick the removed weights R of the block. It is computed in its equal form on the survivors S,
    δ_S = H_SS⁻¹ H_SR w_R, which takes one Cholesky factorisation of size |S| instead of the inverses of the block
    and of R. The trap: the sum of single-weight updates ignores that weights are removed together, and can be worse
    than no update.

    Source: Hassibi, Stork (1992) for one weight; Kurtic et al., *The optimal BERT surgeon* (2022), several.
    Cost: |S|³ / 3 multiplications per block that has lost weights; memory: the result, and a chunk of blocks.

    Args:
        weights: name to array, any shape, n weights; not changed.
        mask: name to bool array of the same shape, True = keep.
        blocks: name to [ceil(n/B), B, B], symmetric, the last block padded (the padding is never read).
        absolute_damping: name to λ >= 0, that of the scores.

    Returns:
        name to array of the weights' shape and type; removed weights are exactly 0. Blocks without removed weights
        keep their bits.

    Raises:
        ObtransferError: layers that do not match, or survivors whose block is not positive definite (names
            layer, block, smallest pivot and λ).
    """
    _check(weights, mask, blocks, absolute_damping)
    return {
        name: _update_layer(weight, mask[name], blocks[name], float(absolute_damping[name]), name)
        for name, weight in weights.items()
    }


def _update_layer(
    weight: np.ndarray, mask: np.ndarray, blocks: np.ndarray, damping: float, name: str
) -> np.ndarray:
    size = blocks.shape[-1]
    padding = len(blocks) * size - weight.size
    values = np.pad(weight.reshape(-1).astype(np.float64), (0, padding)).reshape(-1, size)
    keep = np.pad(mask.reshape(-1), (0, padding), constant_values=True).reshape(-1, size)
    for start, chunk in damped_chunks(blocks, weight.size, damping):
        chosen = slice(start, start + len(chunk))
        steps = _steps_together(chunk, values[chosen], keep[chosen]) if size < SMALL else None
        if steps is None:
            where = f"{name} block {{}} of {len(blocks)} (size {size})"
            steps = _steps_one_by_one(chunk, values[chosen], keep[chosen], where, start, damping)
        values[chosen] += steps
    updated = values.reshape(-1)[: weight.size].reshape(weight.shape).astype(weight.dtype)
    updated[~mask] = 0
    return updated


def _steps_together(chunk: np.ndarray, weights: np.ndarray, keep: np.ndarray) -> np.ndarray | None:
    """[b, B] the moves of the survivors, 0 elsewhere, or None where some block is not positive definite."""
    force = np.where(keep, (chunk @ np.where(keep, 0.0, weights)[:, :, None])[:, :, 0], 0.0)
    pulled = np.flatnonzero(force.any(axis=1))
    own = chunk[pulled] * (keep[pulled, :, None] & keep[pulled, None, :])
    block, removed = np.nonzero(~keep[pulled])
    own[block, removed, removed] = own.diagonal(axis1=1, axis2=2).max(axis=1)[block]  # inert
    try:
        factors = np.linalg.cholesky(own)
    except np.linalg.LinAlgError:
        return None
    if (np.square(factors.diagonal(axis1=1, axis2=2)).min(axis=1) <= rounding(own)).any():
        return None
    steps = np.zeros_like(weights)
    steps[pulled] = np.linalg.solve(own, force[pulled, :, None])[:, :, 0]
    return steps


def _steps_one_by_one(
    chunk: np.ndarray, weights: np.ndarray, keep: np.ndarray, where: str, start: int, damping: float
) -> np.ndarray:
    """The same block by block, with factorisations of the survivors' size; an error where one does not exist."""
    from scipy.linalg.lapack import dpotrf, dpotrs

    steps, negligible = np.zeros_like(weights), rounding(chunk)
    for index in np.flatnonzero(~keep.all(axis=1)):
        block, kept = chunk[index], keep[index]
        force = block[kept][:, ~kept] @ weights[index, ~kept]
        if not force.any():
            continue  # nothing pulls, also where nothing is left or H is zero
        factor, failed = dpotrf(block[kept][:, kept].T, lower=0, overwrite_a=1)
        pivot = factor[failed - 1, failed - 1] if failed else np.square(factor.diagonal()).min()
        if failed or pivot <= negligible[index]:
            raise ObtransferError(
                "the update needs survivors with a positive definite curvature; got a pivot of "
                f"{pivot:.3g} in {where.format(start + index)} with the damping λ = {damping:.3g}; "
                "use a larger damping for scores and update"
            )
        steps[index, kept] = dpotrs(factor, force, lower=0)[0]
    return steps


def _check(
    weights: Arrays,
    mask: Arrays,
    blocks: Arrays,
    absolute_damping: Mapping[str, float],
) -> None:
    problems = []
    for name, weight in weights.items():
        lacking = [what for what, given in (("mask", mask), ("blocks", blocks), ("λ", absolute_damping))
                   if name not in given]  # fmt: skip
        if lacking:
            problems.append(f"{name}: no {' and no '.join(lacking)}")
            continue
        shape = blocks[name].shape
        if mask[name].shape != weight.shape or mask[name].dtype != np.bool_:
            problems.append(
                f"{name}: mask {mask[name].dtype} {list(mask[name].shape)}, weight {list(weight.shape)}"
            )
        if len(shape) != 3 or shape[1] != shape[2] or not shape[2] or shape[0] != -(-weight.size // shape[2]):
            problems.append(f"{name}: blocks {list(shape)} for {weight.size} weights")
        if not absolute_damping[name] >= 0:
            problems.append(f"{name}: λ = {absolute_damping[name]}")
    if problems:
        raise ObtransferError(
            f"the update needs mask, blocks and λ >= 0 of the same weights; got {'; '.join(problems)}"
        )
