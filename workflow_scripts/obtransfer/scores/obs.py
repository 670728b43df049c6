"""Optimal Brain Surgeon in blocks: the inverse of the curvature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.scores.blocks import block_diagonal, inverse_diagonal
from obtransfer.scores.damping import check_damping, layer_damping
from obtransfer.scores.inputs import check_weights, match_statistics, refuse_negative
from obtransfer.scores.result import Scores


def obs(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray] | None,
    *,
    damping: float = 0.0,
    damping_mode: str = "relative",
    seed: int = 0,
) -> Scores:
    """Score by the increase of the loss when a weight is removed and the rest of its block makes up for it.

    ε_block = ½ w_j² / [(H_B + λ I)⁻¹]_jj, with H_B the B × B block of consecutive weights (row-major) that
    holds j and λ as in `layer_damping`. B = 1 is `obd`; a larger B gives a lower score, since more weights
    can adapt. The trap: λ is part of the definition. With fewer than B / K calibration examples (K outputs)
    H_B is singular, λ -> 0 drives scores to 0, and their order is noise. Where a whole layer's H is zero,
    relative damping gives λ = 0, and the scores are the limit 0 (listed in the details).

    Source: Iurada, Occhiena, Tommasi (2025), ε_block; Hassibi, Stork (1992), eq. 5.

    Args:
        weights: name to array of any shape, n weights; not changed.
        statistics: name to [ceil(n/B), B, B], symmetric (the lower triangle is read), the last block padded;
            the padding is never read. Not changed.
        damping: λ >= 0, absolute or in units of the layer's mean diagonal.
        damping_mode: "relative" or "absolute".
        seed: not read.

    Returns:
        Scores in float64, never negative; details hold the absolute λ of every layer and its block size.

    Raises:
        ObtransferError: statistics missing, not fitting, not finite, with a negative diagonal, or blocks that
            are not positive definite with this λ: names layer, block, λ and a λ that would do.
    """
    check_damping(damping, damping_mode, "obs")
    check_weights(weights, "obs")
    statistics = match_statistics(weights, statistics, "obs", "block")
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
            inverse = inverse_diagonal(blocks, weight.size, absolute[name], name)
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
