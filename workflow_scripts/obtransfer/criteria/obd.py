"""Optimal Brain Damage: the diagonal of the curvature."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from annotated_types import doc

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.damping import Damping, DampingMode, check_damping, layer_damping
from obtransfer.criteria.inputs import check_statistics, refuse_negative
from obtransfer.curvature.structures import diagonal
from obtransfer.errors import ObtransferError

Negative = Annotated[
    Literal["refuse", "abs", "clip"],
    doc("treatment of negative curvature, which only the estimator hessian has"),
]


def obd(
    weights: Arrays,
    statistics: Arrays,
    *,
    damping: Damping,
    damping_mode: DampingMode = "relative",
    negative: Negative = "refuse",
) -> Scores:
    """Score each weight by the increase of the loss when it alone is removed: ½ (h + λ) w².

    h = H_jj, and λ is that of `layer_damping`. λ = 0 is the classical criterion, a large absolute λ orders
    weights like `magnitude`, and any λ equals `obs` with blocks of one weight. Trap: compare criteria only at
    the same damping. λ = 0.1 of the mean diagonal changes what is pruned as much as going from a diagonal to
    blocks does. A layer whose h is zero gets scores of 0 from relative damping; the details list such layers.

    Only the estimator `hessian` has negative h. Removing such a weight lowers the quadratic model of the
    loss, which is not trusted that far. "abs" takes |h|: the loss is curved, and the weight matters. "clip"
    takes max(h, 0): the weight does not matter. A relative λ is in units of the mean of what is used.

    Source: Iurada, Occhiena, Tommasi (2025), ε_diag; LeCun, Denker, Solla (1990), eq. 5.

    Args:
        weights: name to array of any shape; not changed.
        statistics: name to diagonal h of the parameter's shape; not changed.
        damping: λ >= 0, absolute or in units of the layer's mean diagonal.
        damping_mode: "relative" or "absolute".
        negative: "refuse", "abs" or "clip".

    Returns:
        Scores in float64, at least 0. Details hold each layer's absolute λ and share of negative h.

    Raises:
        ObtransferError: statistics are missing, do not fit the weights, are not finite, or are negative where
            that is refused; a setting is not allowed.
    """
    check_damping(damping, damping_mode, "obd")
    if negative not in ("refuse", "abs", "clip"):
        raise ObtransferError(f"negative must be one of refuse, abs, clip; got {negative!r}")
    check_statistics(statistics, weights, diagonal.STRUCTURE, "obd")
    scores, absolute, share, flat = {}, {}, {}, []
    for name, weight in weights.items():
        share[name] = float(np.mean(statistics[name] < 0))
        h = _not_negative(statistics[name].astype(np.float64), name, negative)
        absolute[name] = layer_damping(h, damping, damping_mode)
        scores[name] = 0.5 * (h + absolute[name]) * np.square(weight, dtype=np.float64)
        if not h.any():
            flat.append(name)
    details = {
        "criterion": "obd",
        "damping": float(damping),
        "damping_mode": damping_mode,
        "absolute_damping": absolute,
        "negative": negative,
        "negative_share": share,
        "layers_without_curvature": flat,
    }
    return Scores(scores, details)


def _not_negative(h: np.ndarray, name: str, negative: str) -> np.ndarray:
    if negative == "abs":
        return np.abs(h)
    if negative == "clip":
        return np.maximum(h, 0.0)
    try:
        refuse_negative(h, name, "obd")
    except ObtransferError as error:
        raise ObtransferError(f"{error}, or set negative to abs or clip") from None
    return h


CRITERION = Criterion(score=obd, title="OBD", needs="diagonal")
