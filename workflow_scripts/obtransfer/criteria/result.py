"""What every criterion returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Scores by parameter name, and how they came about.

    Scores are float64: ½ h w² of a nearly dead filter (w ~ 1e-30) lies far below what float32 can hold, and
    would become 0 like its neighbours; float64 keeps the order of every product of float32 numbers, without a
    scale factor that would have to be undone before two layers or two files are compared.

    Attributes:
        scores: name to float64 array of the parameter's shape; higher = keep.
        details: JSON-able settings and by-products, such as the absolute damping of every layer.
    """

    scores: dict[str, np.ndarray]
    details: dict[str, Any] = field(default_factory=dict)
