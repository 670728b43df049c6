"""Damping: the λ that is added to the diagonal of the curvature."""

from __future__ import annotations

import math

import numpy as np

from obtransfer.errors import ObtransferError

MODES = ("relative", "absolute")


def check_damping(damping: float, mode: str, criterion: str) -> None:
    """Refuse a damping that is negative or not finite, and an unknown mode.

    Raises:
        ObtransferError: says which.
    """
    if not (math.isfinite(damping) and damping >= 0):
        raise ObtransferError(
            f"{criterion} needs a damping that is finite and not negative, but got {damping}"
        )
    if mode not in MODES:
        raise ObtransferError(f"damping_mode must be one of {', '.join(MODES)}, but got {mode!r}")


def layer_damping(diagonal: np.ndarray, damping: float, mode: str) -> float:
    """The absolute λ of one layer.

    λ = damping in mode "absolute", damping · mean(diagonal) in mode "relative". Relative is the better
    default: an absolute λ does not carry over between models, losses or layers. A layer whose curvature is
    zero everywhere has relative λ = 0: nothing there changes the loss to second order, and its scores are 0.

    Args:
        diagonal: [n] diagonal entries of the layer's real weights, without the padding of the last block.
        damping: λ, or λ in units of the mean diagonal.
        mode: "relative" or "absolute".
    """
    return float(damping * diagonal.mean(dtype=np.float64)) if mode == "relative" else float(damping)
