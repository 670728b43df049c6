"""Optimal Brain Surgeon in blocks: the inverse of the curvature."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Gt

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.blocks import NotPositiveDefinite, block_diagonal, inverse_diagonal
from obtransfer.criteria.damping import Damping, DampingMode, check_damping, layer_damping
from obtransfer.criteria.inputs import check_statistics, refuse_negative
from obtransfer.errors import ObtransferError


def obs(
    weights: Arrays,
    statistics: Arrays,
    *,
    damping: Annotated[Damping, Gt(0)],
    damping_mode: DampingMode = "relative",
) -> Scores:
    """Score by the increase of the loss when a weight is removed and the rest of its block makes up for it.

    ε_block = ½ w_j² / [(H_B + λ I)⁻¹]_jj, with H_B the B × B block of consecutive weights (row-major) that
    holds j and λ as in `layer_damping`. B = 1 is `obd`; a larger B gives a lower score, since more weights
    can adapt. One statistic serves every λ and every sparsity. The trap: λ is part of the definition. With
    fewer than B / K calibration examples (K outputs) H_B is singular: λ = 0 is refused, and λ -> 0 drives
    scores to 0, their order being noise. Where a whole layer's H is zero, relative damping gives λ = 0, and
    the scores are the limit 0 (listed in the details).

    Source: Iurada, Occhiena, Tommasi (2025), ε_block; Hassibi, Stork (1992), eq. 5.

    Args:
        weights: name to array of any shape, n weights; not changed.
        statistics: name to [ceil(n/B), B, B], symmetric (the lower triangle is read), the last block padded;
            the padding is never read. Not changed.
        damping: λ, absolute or in units of the layer's mean diagonal; > 0, or 0 where every block is positive
            definite by itself.
        damping_mode: "relative" or "absolute".

    Returns:
        Scores in float64, never negative; details hold the absolute λ of every layer and its block size.

    Raises:
        ObtransferError: statistics missing, not fitting, not finite, with a negative diagonal, or blocks that
            are not positive definite with this λ: names layer, block, smallest pivot, and a λ that would do.
    """
    check_damping(damping, damping_mode, "obs")
    check_statistics(statistics, weights, "block", "obs")
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
        f"obs needs positive definite blocks, but in {name} {len(failure.indices)} of {shape[0]} blocks of "
        f"size {shape[-1]} are not, with the damping λ = {damping:.3g}: block {failure.indices[worst]} has "
        f"the smallest pivot, {failure.pivots[worst]:.3g}. Every block of this layer would do with a damping of "
        f"{enough:.3g} (absolute), that is {enough / mean:.3g} (relative to its mean diagonal)"
    )


CRITERION = Criterion(score=obs, title="OBS", needs="block")
