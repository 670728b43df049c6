"""What fine-tuning on the source adds to the accuracy of every task."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from obtransfer.report.aggregate import fine_tuning_change, task_accuracy
from obtransfer.report.figures.base import ReportFigure
from obtransfer.report.heat_map import change_colours, heat_maps
from obtransfer.report.summary import frozen_head_rows


def draw(summary: pd.DataFrame) -> Figure | None:
    """One heat map per backbone; None where no pruned model was fine-tuned."""
    rows = fine_tuning_change(task_accuracy(frozen_head_rows(summary)))
    return heat_maps(rows, change_colours(rows))


FIGURE = ReportFigure(draw, title="What fine-tuning on the source adds to every task (frozen dense head)")
