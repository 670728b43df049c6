"""The accuracy of every task after pruning."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from obtransfer.report.aggregate import task_accuracy
from obtransfer.report.figures.base import ReportFigure
from obtransfer.report.heat_map import ACCURACY, heat_maps
from obtransfer.report.summary import frozen_head_rows


def draw(summary: pd.DataFrame) -> Figure | None:
    """One heat map per backbone; None without pruned models."""
    rows = task_accuracy(frozen_head_rows(summary))
    return heat_maps(rows[rows["stage"] != "finetuned"], ACCURACY)


FIGURE = ReportFigure(draw, title="Accuracy of every task after pruning (frozen dense head)")
