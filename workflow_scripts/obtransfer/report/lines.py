"""Accuracy against sparsity: one block per backbone, unseen tasks above, the source task below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from obtransfer.report.aggregate import source_accuracy, transfer_accuracy
from obtransfer.report.legend import add_legend
from obtransfer.report.panel import Scene, draw_panel
from obtransfer.report.prepared import percent, series_order, sparsities
from obtransfer.report.style import Variant, add_title, message_figure, series_styles

_PANEL_IN = (3.1, 2.1)
_TICK_IN = 0.27
_MOST_BANDS = 5
UNSEEN, SOURCE = "unseen tasks", "source task"


def accuracy_against_sparsity(
    summary: pd.DataFrame, *, title: str, head: str, variants: Sequence[Variant]
) -> Figure:
    """Draw accuracy (per cent) against sparsity (per cent), every panel on the same axes.

    Rows of panels: for every architecture the mean of the unseen tasks, then the source task; columns: pretrainings.
    The dense level is a line across; dense + fine-tuned has its own place left of the sparsities. The band is the
    middle half (quartile to quartile) of the unseen tasks.

    Args:
        summary: prepared rows.
        title: of the whole figure.
        head: "zero_shot" or "probe".
        variants: what the line styles stand for; backbones without rows of the first are left out.
    """
    shown = _shown(summary, head, variants)
    if shown.empty:
        return message_figure(f"{title}:\nno such rows in this run.")
    variants = [_present(variant, shown) for variant in variants if not variant.rows(shown).empty]
    architectures = list(dict.fromkeys(shown["architecture"]))
    pretrainings = list(dict.fromkeys(shown["pretraining"]))
    removed = sparsities(shown)
    styles = series_styles(series_order(summary))
    bands = bool((~shown["is_source"]).any()) and len(styles) <= _MOST_BANDS
    scene = Scene(variants, styles, _chance(shown), _dense_x(removed), bands)
    rows, columns = 2 * len(architectures), len(pretrainings)
    figure = Figure(figsize=(_PANEL_IN[0] * columns + 1, _PANEL_IN[1] * rows + 0.9), layout="constrained")
    add_legend(figure, styles, variants, chance=scene.chance, bands=bands)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    roles = [(UNSEEN, transfer_accuracy(shown)), (SOURCE, source_accuracy(shown))]
    for row in range(rows):
        role, table = roles[row % 2]
        for panel, pretraining in zip(axes[row], pretrainings, strict=True):
            backbone = f"{architectures[row // 2]}.{pretraining}"
            draw_panel(panel, table[table["backbone"] == backbone], scene, role)
            if row % 2 == 0:
                panel.set_title(f"{architectures[row // 2]}, {pretraining}", fontweight="bold")
        axes[row, 0].set_ylabel(f"{role}\naccuracy (%)".replace("unseen", "mean of unseen"))
    _finish_axes(axes[-1], removed, scene.dense_x, (figure.get_figwidth() - 1) / columns)
    add_title(figure, title)
    return figure


def _shown(summary: pd.DataFrame, head: str, variants: Sequence[Variant]) -> pd.DataFrame:
    rows = summary[summary["head"] == head]
    first = rows[(rows["stage"] == variants[0].stage) & (rows["batchnorm"] == variants[0].batchnorm)]
    return rows[rows["backbone"].isin(first["backbone"])]


def _chance(shown: pd.DataFrame) -> dict[str, float]:
    """The accuracy of guessing, in per cent: a mean over tasks, where these have different numbers of classes."""
    tasks = shown.drop_duplicates(["task", "is_source"])
    levels = (100 / tasks["num_classes"]).groupby(tasks["is_source"]).mean().to_dict()
    either = next(iter(levels.values()))
    return {UNSEEN: levels.get(False, either), SOURCE: levels.get(True, either)}


def _present(variant: Variant, shown: pd.DataFrame) -> Variant:
    """The variant, without its control where the run has none."""
    return (
        variant if not variant.control(shown).empty else replace(variant, control_stage="", control_label="")
    )


def _dense_x(removed: Sequence[float]) -> float:
    """The unpruned model's own place on the axis: a step left of the first sparsity, whatever lies between."""
    return 100 * removed[0] - max(8.0, 18 * (removed[-1] - removed[0]))


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
