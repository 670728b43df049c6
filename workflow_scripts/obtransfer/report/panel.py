"""One panel of a line figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from obtransfer.report.prepared import DENSE
from obtransfer.report.style import CHANCE_LINE, GREY, INK, SeriesStyle, Variant


@dataclass(frozen=True)
class Scene:
    """What all panels of one figure share; `chance`: for every role, the accuracy of guessing in per cent."""

    variants: Sequence[Variant]
    styles: dict[str, SeriesStyle]
    chance: Mapping[str, float]
    dense_x: float
    bands: bool


def draw_panel(axes: Axes, rows: pd.DataFrame, scene: Scene, role: str) -> None:
    """Draw lines, bands, the dense and the chance level of one backbone and role ("unseen tasks", "source task").

    Args:
        axes: mutated; in per cent both ways.
        rows: of `transfer_accuracy` or `source_accuracy`; without any the panel says so.
        scene: what the figure's panels share.
        role: whose accuracy it is.
    """
    axes.set_axisbelow(True)
    axes.grid(True)
    axes.axhline(scene.chance[role], color=GREY, linewidth=1, linestyle=CHANCE_LINE, label="chance")
    if rows.empty:
        axes.text(
            0.5, 0.4, f"no {role} in this run", transform=axes.transAxes, ha="center", va="center", color=GREY
        )
    for variant in scene.variants:
        chosen = variant.rows(rows)
        for name, style in scene.styles.items():
            series = chosen[chosen["series"] == name].sort_values("sparsity")
            if not series.empty:
                _draw_series(axes, series, variant, style, band=scene.bands and variant.band)
    dense = rows[(rows["stage"] == DENSE) & (rows["batchnorm"] == "keep")]
    for level in 100 * dense["mean"]:
        axes.axhline(level, color=INK, linewidth=1, label="dense", zorder=1.5)
    for variant in scene.variants:
        for level in 100 * variant.control(rows)["mean"]:
            axes.plot(
                [scene.dense_x], [level], variant.control_marker, color=INK, markerfacecolor="white",
                label=variant.control_label,
            )  # fmt: skip


def _draw_series(axes: Axes, rows: pd.DataFrame, variant: Variant, style: SeriesStyle, *, band: bool) -> None:
    x = 100 * rows["sparsity"]
    axes.plot(
        x, 100 * rows["mean"], color=style.color, marker=style.marker, linestyle=variant.linestyle, zorder=3,
        markerfacecolor=style.color if variant.filled else "white",
        label=f"{rows['series'].iloc[0]} / {variant.label}",
    )  # fmt: skip
    if band and "lower" in rows:
        axes.fill_between(
            x, 100 * rows["lower"], 100 * rows["upper"], color=style.color, alpha=0.13, linewidth=0
        )
