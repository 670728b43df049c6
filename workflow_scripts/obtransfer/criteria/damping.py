"""Damping: the λ that is added to the diagonal of the curvature."""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Ge, Gt, doc

from obtransfer.errors import ObtransferError

_MEANING = doc("λ that is added to the diagonal of the curvature")
Damping = Annotated[float, Ge(0), _MEANING]
PositiveDamping = Annotated[float, Gt(0), _MEANING]
"""For criteria that invert the curvature, which may be singular."""
Mode = Literal["relative", "absolute"]
DampingMode = Annotated[Mode, doc("whether damping is relative to the layer's mean diagonal")]


def check_damping(damping: float, mode: Mode, criterion: str) -> None:
    """Refuse a damping that is negative or not finite, and an unknown mode.

    Raises:
        ObtransferError: says which.
    """
    if not (math.isfinite(damping) and damping >= 0):
        raise ObtransferError(f"{criterion} needs a finite damping of at least 0; got {damping}")
    if mode not in get_args(Mode):
        raise ObtransferError(f"damping_mode must be one of {', '.join(get_args(Mode))}; got {mode!r}")


def layer_damping(diagonal: np.ndarray, damping: float, mode: Mode) -> float:
    """The absolute λ of one layer.

    λ = damping in mode "absolute", damping · mean(diagonal) in mode "relative". An absolute λ does not carry
    over between models, losses or layers. A layer without curvature has relative λ = 0: to second order
    nothing there changes the loss, and its scores are 0.

    Args:
        diagonal: [n] diagonal entries of the layer's real weights, without the padding of the last block.
        damping: λ, or λ in units of the mean diagonal.
        mode: "relative" or "absolute".
    """
    return float(damping * diagonal.mean(dtype=np.float64)) if mode == "relative" else float(damping)
