"""What a figure declares, and how all of them are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from obtransfer.registry import FIGURES
from obtransfer.report.style import add_title, message_figure, plot_settings, save
from obtransfer.report.summary import protocol, read_summary


@dataclass(frozen=True)
class ReportFigure:
    """One figure of every run; its module's name is that of its files.

    Attributes:
        draw: makes the figure, without its title, of prepared rows (`obtransfer.report.summary.prepare`); returns None
            where the run has nothing to show.
        title: over the whole figure.
        frozen_heads: whether it shows accuracies of frozen heads, whose protocol then joins the title.
    """

    draw: Callable[[pd.DataFrame], Figure | None]
    title: str
    frozen_heads: bool = True

    def finish(self, summary: pd.DataFrame) -> Figure:
        """The figure with its title; a short message where the run has nothing to show."""
        label = protocol(summary) if self.frozen_heads else ""
        title = f"{self.title} – {label}" if label else self.title
        figure = self.draw(summary)
        if figure is None:
            return message_figure(f"{title}:\nno such rows in this run.")
        add_title(figure, title)
        return figure


def draw_all(summary_csv: Path | str, folder: Path | str) -> list[Path]:
    """Draw every registered figure of a summary into `folder`, as PNG and SVG.

    Returns:
        The files written. They have the same names for every run.

    Raises:
        ObtransferError: the summary is missing or lacks columns.
    """
    summary = read_summary(summary_csv)
    files: list[Path] = []
    with plot_settings():
        for name, figure in FIGURES.items():
            files += save(figure.finish(summary), folder, name)
    return files
