"""Accuracy against sparsity: one block per backbone, unseen tasks above, the source task below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from obtransfer.report.aggregate import source_accuracy, transfer_accuracy
from obtransfer.report.legend import PanelStyle, Variant, add_legend
from obtransfer.report.style import CHANCE_LINE, GREY, INK, SeriesStyle, series_styles
from obtransfer.report.summary import DENSE, percent, series_order, sparsities

PRUNED = Variant("pruned", "pruned", "keep", band=True)
FINETUNED = Variant(
    "pruned + fine-tuned", "finetuned", "keep", "--", filled=False,
    control_stage="finetuned", control_label="dense + fine-tuned",
)  # fmt: skip
UNSEEN, SOURCE = "unseen tasks", "source task"
_PANEL_IN = (3.1, 2.1)
_TICK_IN = 0.27
_MOST_BANDS = 5


def accuracy_against_sparsity(
    summary: pd.DataFrame, *, head: str, variants: Sequence[Variant]
) -> Figure | None:
    """Draw accuracy (per cent) against sparsity (per cent), every panel on the same axes.

    Rows of panels: for every architecture the mean of the unseen tasks, then the source task; columns: pretrainings.
    The dense level is a line across; dense + fine-tuned has its own place left of the sparsities. The band is the
    middle half (quartile to quartile) of the unseen tasks.

    Args:
        summary: prepared rows.
        head: "zero_shot" or "probe".
        variants: what the line styles stand for; backbones without rows of the first are left out.

    Returns:
        The figure without a title; None where no backbone is left.
    """
    shown = _shown(summary, head, variants[0])
    if shown.empty:
        return None
    architectures = list(dict.fromkeys(shown["architecture"]))
    pretrainings = list(dict.fromkeys(shown["pretraining"]))
    removed = sparsities(shown)
    style = _panel_style(shown, series_styles(series_order(summary)), variants)
    rows, columns = 2 * len(architectures), len(pretrainings)
    figure = Figure(figsize=(_PANEL_IN[0] * columns + 1, _PANEL_IN[1] * rows + 0.9), layout="constrained")
    add_legend(figure, style)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    roles = [(UNSEEN, transfer_accuracy(shown)), (SOURCE, source_accuracy(shown))]
    for row in range(rows):
        role, table = roles[row % 2]
        for panel, pretraining in zip(axes[row], pretrainings, strict=True):
            backbone = f"{architectures[row // 2]}.{pretraining}"
            draw_panel(panel, table[table["backbone"] == backbone], style, role)
            if row % 2 == 0:
                panel.set_title(f"{architectures[row // 2]}, {pretraining}", fontweight="bold")
        axes[row, 0].set_ylabel(f"{role}\naccuracy (%)".replace("unseen", "mean of unseen"))
    _finish_axes(axes[-1], removed, style.dense_x, (figure.get_figwidth() - 1) / columns)
    return figure


def draw_panel(axes: Axes, rows: pd.DataFrame, style: PanelStyle, role: str) -> None:
    """Draw lines, bands, the dense and the chance level of one backbone and role (`UNSEEN` or `SOURCE`).

    Args:
        axes: changed; in per cent both ways.
        rows: of `transfer_accuracy` or `source_accuracy`; without any the panel says so.
        style: what the figure's panels share.
        role: whose accuracy it is.
    """
    axes.set_axisbelow(True)
    axes.grid(True)
    axes.axhline(style.chance[role], color=GREY, linewidth=1, linestyle=CHANCE_LINE, label="chance")
    if rows.empty:
        axes.text(
            0.5, 0.4, f"no {role} in this run", transform=axes.transAxes, ha="center", va="center", color=GREY
        )
    for variant in style.variants:
        chosen = variant.rows(rows)
        for name, look in style.styles.items():
            series = chosen[chosen["series"] == name].sort_values("sparsity")
            if not series.empty:
                _draw_series(axes, series, variant, look, band=style.bands and variant.band)
    dense = rows[(rows["stage"] == DENSE) & (rows["batchnorm"] == "keep")]
    for level in 100 * dense["mean"]:
        axes.axhline(level, color=INK, linewidth=1, label="dense", zorder=1.5)
    for variant in style.variants:
        for level in 100 * variant.control(rows)["mean"]:
            axes.plot(
                [style.dense_x], [level], variant.control_marker, color=INK, markerfacecolor="white",
                label=variant.control_label,
            )  # fmt: skip


def _draw_series(axes: Axes, rows: pd.DataFrame, variant: Variant, look: SeriesStyle, *, band: bool) -> None:
    x = 100 * rows["sparsity"]
    axes.plot(
        x, 100 * rows["mean"], color=look.color, marker=look.marker, linestyle=variant.linestyle, zorder=3,
        markerfacecolor=look.color if variant.filled else "white",
        label=f"{rows['series'].iloc[0]} / {variant.label}",
    )  # fmt: skip
    if band and "lower" in rows:
        low, high = 100 * rows["lower"], 100 * rows["upper"]
        axes.fill_between(x, low, high, color=look.color, alpha=0.13, linewidth=0)


def _shown(summary: pd.DataFrame, head: str, first: Variant) -> pd.DataFrame:
    rows = summary[summary["head"] == head]
    chosen = rows[(rows["stage"] == first.stage) & (rows["batchnorm"] == first.batchnorm)]
    return rows[rows["backbone"].isin(chosen["backbone"])]


def _panel_style(
    shown: pd.DataFrame, styles: dict[str, SeriesStyle], variants: Sequence[Variant]
) -> PanelStyle:
    """Variants that the run lacks are left out. A band for each of many criteria would hide the others."""
    removed = sparsities(shown)
    # The unpruned model's own place is left of the first sparsity, whatever lies between.
    dense_x = 100 * removed[0] - max(8.0, 18 * (removed[-1] - removed[0]))
    bands = bool((~shown["is_source"]).any()) and len(styles) <= _MOST_BANDS
    present = [_present(variant, shown) for variant in variants if not variant.rows(shown).empty]
    return PanelStyle(present, styles, _chance(shown), dense_x, bands)


def _present(variant: Variant, shown: pd.DataFrame) -> Variant:
    """The variant, without its control where the run has none."""
    return replace(variant, control_stage="", control_label="") if variant.control(shown).empty else variant


def _chance(shown: pd.DataFrame) -> dict[str, float]:
    """The accuracy of guessing, in per cent: a mean over tasks, where these have different numbers of classes."""
    tasks = shown.drop_duplicates(["task", "is_source"])
    levels = (100 / tasks["num_classes"]).groupby(tasks["is_source"]).mean().to_dict()
    either = next(iter(levels.values()))
    return {UNSEEN: levels.get(False, either), SOURCE: levels.get(True, either)}


def _finish_axes(bottom: Sequence[Axes], removed: Sequence[float], dense_x: float, width_in: float) -> None:
    """Shared limits, and ticks at the sparsities that were run, thinned where labels would touch."""
    span = 1.14 * (100 * removed[-1] - dense_x)
    ticks: list[float] = []
    for sparsity in reversed(removed):
        if not ticks or 100 * (ticks[-1] - sparsity) >= _TICK_IN / width_in * span:
            ticks.append(sparsity)
    labels = [percent(tick) for tick in ticks]
    for axes in bottom:
        axes.set_xticks([*(100 * tick for tick in ticks), dense_x], [*labels, "dense"])
        axes.set_xlim(dense_x - 0.08 * span, 100 * removed[-1] + 0.05 * span)
        axes.set_ylim(0, 104)
        axes.set_yticks([0, 20, 40, 60, 80, 100])
        axes.set_xlabel("sparsity (% of weights removed)")
