"""How the cells of a heat map are painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize

from obtransfer.report.style import GREY, INK


@dataclass(frozen=True)
class Colours:
    """A colour map with its limits in per cent (points for a difference) and what the colour bar says."""

    name: str
    low: float
    high: float
    label: str

    def norm(self) -> Normalize:
        """Values to [0, 1]."""
        return Normalize(self.low, self.high)

    def inks(self, values: np.ndarray) -> np.ndarray:
        """The colour of text readable on each cell."""
        fills = colormaps[self.name](self.norm()(np.nan_to_num(values)))
        luminance = fills[..., :3] @ np.array([0.299, 0.587, 0.114])
        return np.where(np.isnan(values), GREY, np.where(luminance < 0.5, "white", INK))


ACCURACY = Colours("cividis", 0.0, 100.0, "accuracy (%)")


def change_colours(rows: pd.DataFrame) -> Colours:
    """Red for a loss, blue for a gain, pale at 0; symmetric, up to the largest change (at least one point)."""
    largest = 100 * float(rows["accuracy"].abs().max()) if len(rows) else 0.0
    limit = float(max(1.0, np.ceil(round(largest, 6))))
    return Colours("RdBu", -limit, limit, "change (points): blue is gained, red is lost")
