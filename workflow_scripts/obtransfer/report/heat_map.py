"""Heat maps with one cell per task and pruned model: which tasks lose first, and which ones fine-tuning helps or hurts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from obtransfer.report.heat_map_values import HeatMapValues, heat_map_values
from obtransfer.report.style import GREY, INK
from obtransfer.report.summary import series_order

_CELL_IN = (0.27, 0.22)
_LABELS_IN = 1.25
_PAGE_IN = 16.0
_PRINTED_FROM_IN = 0.23
_LETTER_IN = 0.068
_BAR_IN = 3.6


@dataclass(frozen=True)
class Colours:
    """A colour map with its limits in per cent (points for a difference) and the label of its colour bar."""

    name: str
    low: float
    high: float
    label: str

    def norm(self) -> Normalize:
        """Values to [0, 1]."""
        return Normalize(self.low, self.high)

    def inks(self, values: np.ndarray) -> np.ndarray:
        """The colour of text that is readable on each cell."""
        fills = colormaps[self.name](self.norm()(np.nan_to_num(values)))
        luminance = fills[..., :3] @ np.array([0.299, 0.587, 0.114])
        return np.where(np.isnan(values), GREY, np.where(luminance < 0.5, "white", INK))


ACCURACY = Colours("cividis", 0.0, 100.0, "accuracy (%)")


def change_colours(rows: pd.DataFrame) -> Colours:
    """Red for a loss, blue for a gain, pale at 0; symmetric, up to the largest change (at least one point)."""
    largest = 100 * float(rows["accuracy"].abs().max()) if len(rows) else 0.0
    limit = float(max(1.0, np.ceil(round(largest, 6))))
    return Colours("RdBu", -limit, limit, "change (points): blue is gained, red is lost")


def heat_maps(rows: pd.DataFrame, colours: Colours) -> Figure | None:
    """Draw one panel per backbone: tasks down (the source first), the unpruned model and the pruned ones across.

    Values are printed, rounded to whole points, where cells are wide enough.

    Args:
        rows: rows of `task_accuracy` (or of `fine_tuning_change`) of one head, stage and BatchNorm treatment, with the
            dense row if there is one; `accuracy` in [0, 1], or a difference.
        colours: how 100 × `accuracy` is painted.

    Returns:
        The figure without a title; None without rows of pruned models.
    """
    order = series_order(rows)
    if not order:
        return None
    grids = {str(name): heat_map_values(part, order) for name, part in rows.groupby("backbone", sort=False)}
    cell = min(_CELL_IN[0], (_PAGE_IN - _LABELS_IN) / max(grid.lefts()[-1] + 1 for grid in grids.values()))
    width = cell * max(grid.lefts()[-1] + 1 for grid in grids.values()) + _LABELS_IN
    columns = min(rows["pretraining"].nunique(), max(1, int(_PAGE_IN / width)))
    lines = -(-len(grids) // columns)
    upright = any(_collide(grid, cell) for grid in grids.values())
    heading = 0.8 + (_LETTER_IN * max(map(len, order)) if upright else 0.0)
    height = _CELL_IN[1] * max(grid.tops()[-1] + 1 for grid in grids.values()) + heading
    figure = Figure(figsize=(max(6.4, columns * width + 0.2), lines * height + 1.4), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.flat[len(grids) :]:
        axes.set_axis_off()
    for axes, (name, grid) in zip(panels.flat, grids.items(), strict=False):
        _draw(axes, grid, colours, printed=cell >= _PRINTED_FROM_IN)
        _label(axes, grid, upright=upright)
        axes.set_title(name.replace(".", ", "), fontweight="bold")
    scale = ScalarMappable(colours.norm(), colours.name)
    share = min(0.8, _BAR_IN / figure.get_figwidth())
    bar = figure.colorbar(scale, ax=panels, label=colours.label, location="top", shrink=share, aspect=25)
    bar.outline.set_visible(False)
    figure.supxlabel(_caption(grids), fontsize=9)
    return figure


def _draw(axes: Axes, grid: HeatMapValues, colours: Colours, *, printed: bool) -> None:
    lefts, tops = grid.lefts(), grid.tops()
    x, y = _spread(lefts), _spread(tops)
    mesh = np.full((len(y) - 1, len(x) - 1), np.nan)
    mesh[np.ix_(np.searchsorted(y, tops - 1e-3), np.searchsorted(x, lefts - 1e-3))] = grid.values
    axes.pcolormesh(x, y, mesh, cmap=colours.name, norm=colours.norm(), linewidth=0)
    if not printed:
        return
    for top, line, inks in zip(tops, grid.values, colours.inks(grid.values), strict=True):
        for left, value, ink in zip(lefts, line, inks, strict=True):
            axes.text(
                left + 0.5, top + 0.53, cell_text(value), color=ink, fontsize=6.5, ha="center", va="center", in_layout=False
            )  # fmt: skip


def _spread(starts: np.ndarray) -> np.ndarray:
    """Edges of cells of width 1 at `starts`, and of the gaps between them."""
    return np.unique(np.round(np.concatenate([starts, starts + 1]), 6))


def cell_text(value: float) -> str:
    """A value in whole points, with a true minus and no "-0"; a dash for none."""
    if np.isnan(value):
        return "–"
    return f"{round(value) or 0:d}".replace("-", "−")


def _collide(grid: HeatMapValues, cell: float) -> bool:
    """Whether the criteria's names, written across, would touch (`cell`: width of a column in inches)."""
    return any(
        _LETTER_IN * (len(left) + len(right)) / 2 + 0.08 > cell * (right_middle - left_middle)
        for (left, left_middle), (right, right_middle) in pairwise(grid.spans())
    )


def _label(axes: Axes, grid: HeatMapValues, *, upright: bool) -> None:
    lefts, tops = grid.lefts(), grid.tops()
    axes.set_xlim(0, lefts[-1] + 1)
    axes.set_ylim(tops[-1] + 1, 0)
    axes.set_xticks(lefts + 0.5, grid.columns, fontsize=7)
    axes.set_yticks(tops + 0.5, grid.rows, fontsize=8)
    heads = axes.secondary_xaxis("top")
    heads.set_xticks([middle for _, middle in grid.spans()], [name for name, _ in grid.spans()], fontsize=8)
    if upright:
        for text in heads.get_xticklabels():
            text.set(rotation=90, ha="center")
    for part in (axes, heads):
        part.tick_params(length=0, pad=3)
        part.spines[:].set_visible(False)
    for label, group in zip(axes.get_yticklabels(), grid.row_groups, strict=True):
        label.set_fontweight("bold" if group == 0 else "normal")


def _caption(grids: dict[str, HeatMapValues]) -> str:
    groups = {group for grid in grids.values() for group in grid.row_groups}
    notes = ["across: sparsity (% of weights removed)"]
    if groups <= {0}:
        notes.append("no unseen tasks in this run")
    if 2 in groups:
        notes.append("† a task that pre-training never saw")
    return "     ".join(notes)
