"""Optimal Brain Surgeon in blocks: the inverse of the curvature."""

from __future__ import annotations

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.blocks import NotPositiveDefinite, block_diagonal, inverse_diagonal
from obtransfer.criteria.damping import DampingMode, PositiveDamping, check_damping, layer_damping
from obtransfer.criteria.inputs import check_statistics, refuse_negative
from obtransfer.curvature.structures import block
from obtransfer.errors import ObtransferError


def obs(
    weights: Arrays,
    statistics: Arrays,
    *,
    damping: PositiveDamping,
    damping_mode: DampingMode = "relative",
) -> Scores:
    """Score each weight by the loss increase if its block compensates: ½ w² / [(H_B + λ I)⁻¹]_jj.

    H_B is the block of B consecutive weights (row-major) that holds weight j, and λ is that of
    `layer_damping`. B = 1 is `obd`; a larger B gives lower scores, since more weights compensate. One
    statistic serves every λ and every sparsity. Trap: λ is part of the definition. With fewer than B / K
    examples (K outputs), H_B is singular: λ = 0 is refused, and λ → 0 drives scores to 0 in an order that is
    noise. A layer whose H is zero gets scores of 0 from relative damping; the details list such layers.

    Source: Iurada, Occhiena, Tommasi (2025), ε_block; Hassibi, Stork (1992), eq. 5.

    Args:
        weights: name to array of any shape, n weights; not changed.
        statistics: name to [ceil(n/B), B, B], symmetric; only the lower triangle is read, and no padding of
            the last block. Not changed.
        damping: λ > 0, absolute or in units of the layer's mean diagonal. A direct call may pass 0 where all
            blocks are positive definite.
        damping_mode: "relative" or "absolute".

    Returns:
        Scores in float64, at least 0. Details hold each layer's absolute λ and block size.

    Raises:
        ObtransferError: statistics are missing, do not fit the weights, are not finite, or have a negative
            diagonal; blocks are not positive definite with this λ (the message names a λ that is enough).
    """
    check_damping(damping, damping_mode, "obs")
    check_statistics(statistics, weights, block.STRUCTURE, "obs")
    scores, absolute, sizes, flat = {}, {}, {}, []
    for name, weight in weights.items():
        blocks = statistics[name]
        diagonal = block_diagonal(blocks, weight.size)
        refuse_negative(diagonal, name, "obs")
        absolute[name] = layer_damping(diagonal, damping, damping_mode)
        sizes[name] = int(blocks.shape[-1])
        squares = 0.5 * np.square(weight, dtype=np.float64)
        if not diagonal.any():
            # A semi-definite H with zero diagonal is zero: the score is ½ w² λ, also in the limit λ = 0.
            flat.append(name)
            scores[name] = squares * absolute[name]
        else:
            try:
                inverse = inverse_diagonal(blocks, weight.size, absolute[name])
            except NotPositiveDefinite as failure:
                raise _refusal(failure, name, blocks.shape, absolute[name], diagonal.mean()) from None
            scores[name] = squares / inverse.reshape(weight.shape)
    details = {
        "criterion": "obs",
        "damping": float(damping),
        "damping_mode": damping_mode,
        "absolute_damping": absolute,
        "block_size": sizes,
        "layers_without_curvature": flat,
    }
    return Scores(scores, details)


def _refusal(
    failure: NotPositiveDefinite, name: str, shape: tuple[int, ...], damping: float, mean: float
) -> ObtransferError:
    worst = int(failure.pivots.argmin())
    enough = float(failure.enough.max())
    return ObtransferError(
        f"obs needs positive definite blocks; got {len(failure.indices)} of {shape[0]} blocks of size "
        f"{shape[-1]} in {name} that are not, with λ = {damping:.3g} (block {failure.indices[worst]} has the "
        f"smallest pivot, {failure.pivots[worst]:.3g}); for this layer set damping to {enough:.3g} (absolute) "
        f"or {enough / mean:.3g} (relative)"
    )


CRITERION = Criterion(score=obs, title="OBS", needs="block")
