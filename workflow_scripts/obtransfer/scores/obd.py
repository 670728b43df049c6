"""Optimal Brain Damage: the diagonal of the curvature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.scores.damping import check_damping, layer_damping
from obtransfer.scores.inputs import check_weights, match_statistics, refuse_negative
from obtransfer.scores.result import Scores


def obd(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray] | None,
    *,
    damping: float = 0.0,
    damping_mode: str = "relative",
    seed: int = 0,
) -> Scores:
    """Score every weight by the increase of the loss when it alone is removed: ε_diag = ½ (h + λ) w².

    h = H_jj, λ as in `layer_damping`; λ = 0 is the classical criterion, a large absolute λ orders like
    `magnitude`, and any λ equals `obs` with blocks of one weight. Compare criteria only at the same damping:
    λ = 0.1 of the mean diagonal alone changes what is pruned as much as going from a diagonal to blocks does.
    Where a whole layer's h is zero, relative damping gives it scores of 0 (listed in the details).

    Source: Iurada, Occhiena, Tommasi (2025), ε_diag; LeCun, Denker, Solla (1990), eq. 5.

    Args:
        weights: name to array of any shape; not changed.
        statistics: name to diagonal h, of the parameter's shape, not negative; not changed.
        damping: λ >= 0, absolute or in units of the layer's mean diagonal.
        damping_mode: "relative" or "absolute".
        seed: not read.

    Returns:
        Scores in float64, never negative; details hold the absolute λ of every layer.

    Raises:
        ObtransferError: statistics missing, not fitting, not finite or negative; a damping that is not
            allowed.
    """
    check_damping(damping, damping_mode, "obd")
    check_weights(weights, "obd")
    statistics = match_statistics(weights, statistics, "obd", "diagonal")
    scores, absolute, flat = {}, {}, []
    for name, weight in weights.items():
        diagonal = statistics[name].astype(np.float64)
        refuse_negative(diagonal, name, "obd")
        absolute[name] = layer_damping(diagonal, damping, damping_mode)
        scores[name] = 0.5 * (diagonal + absolute[name]) * np.square(weight, dtype=np.float64)
        if not diagonal.any():
            flat.append(name)
    details = {
        "criterion": "obd",
        "damping": float(damping),
        "damping_mode": damping_mode,
        "absolute_damping": absolute,
        "layers_without_curvature": flat,
    }
    return Scores(scores, details)
