"""What the panels of a line figure share, and the legend below them that explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from obtransfer.report.style import CHANCE_LINE, GREY, INK, SeriesStyle
from obtransfer.report.summary import DENSE

_LETTER_IN = 0.078
_HANDLE_IN = 0.62
_ROW_IN = 0.19


@dataclass(frozen=True)
class Variant:
    """One line style: the pruned models of a `stage` and a `batchnorm` treatment.

    `filled` says whether markers are, `band` whether the spread over tasks is drawn. The unpruned model in
    `control_stage`, if the run has it, is a hollow mark of its own.
    """

    label: str
    stage: str
    batchnorm: str
    linestyle: str = "-"
    filled: bool = True
    band: bool = False
    control_stage: str = ""
    control_label: str = ""
    control_marker: str = "D"

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The pruned models among rows with the summary's keys."""
        chosen = (frame["stage"] == self.stage) & (frame["batchnorm"] == self.batchnorm)
        return frame[chosen & (frame["criterion"] != DENSE)]

    def control(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The unpruned model treated likewise."""
        chosen = (frame["stage"] == self.control_stage) & (frame["batchnorm"] == self.batchnorm)
        return frame[chosen & (frame["criterion"] == DENSE)]


@dataclass(frozen=True)
class PanelStyle:
    """What all panels of one figure share.

    Attributes:
        variants: the line styles in use.
        styles: the colour and marker of every series.
        chance: for every role ("unseen tasks", "source task"), the accuracy of guessing in per cent.
        dense_x: where the unpruned model stands on the axis of sparsity.
        bands: whether the spread over tasks is drawn.
    """

    variants: Sequence[Variant]
    styles: Mapping[str, SeriesStyle]
    chance: Mapping[str, float]
    dense_x: float
    bands: bool


def add_legend(figure: Figure, style: PanelStyle) -> None:
    """Explain colours (first columns), line styles and band (next), and reference marks (last).

    The figure, which is changed, grows by what the legend needs, so that the panels keep their size.
    """
    series: list[Artist] = [_line(name, found.color, found.marker) for name, found in style.styles.items()]
    others = [_kinds(style), _marks(style)]
    room = figure.get_figwidth() - sum(_width(column) for column in others)
    height = max(4, -(-len(series) // max(1, int(room / _width(series)))))
    columns = [series[i : i + height] for i in range(0, len(series), height)] + others
    height = max(len(column) for column in columns)
    padded = [column + [_blank() for _ in range(height - len(column))] for column in columns]
    figure.set_figwidth(max(figure.get_figwidth(), sum(_width(column) for column in columns)))
    figure.set_figheight(figure.get_figheight() + _ROW_IN * height + 0.15)
    figure.legend(handles=list(chain(*padded)), loc="outside lower center", ncols=len(columns))


def _kinds(style: PanelStyle) -> list[Artist]:
    lines: list[Artist] = [
        _line(v.label, INK, "o", linestyle=v.linestyle, markerfacecolor=INK if v.filled else "white")
        for v in style.variants
    ]
    bands = sum(v.band for v in style.variants) if style.bands else 0
    label = "middle half of unseen tasks"
    return lines + [Patch(color=INK, alpha=0.15, linewidth=0, label=label) for _ in range(bands)]


def _marks(style: PanelStyle) -> list[Artist]:
    levels = " / ".join(dict.fromkeys(f"{level:.3g} %" for level in style.chance.values()))
    return [
        _line("dense", INK, "", linewidth=1),
        *(
            _line(v.control_label, INK, v.control_marker, linestyle="", markerfacecolor="white")
            for v in style.variants
            if v.control_label
        ),
        _line(f"chance ({levels})", GREY, "", linewidth=1, linestyle=CHANCE_LINE),
    ]


def _line(label: str, color: str, marker: str, **properties: Any) -> Line2D:
    return Line2D([], [], color=color, marker=marker, label=label, **properties)


def _blank() -> Patch:
    return Patch(alpha=0, linewidth=0, label="")


def _width(column: Sequence[Artist]) -> float:
    """Width of a legend column in inches, estimated from its longest label."""
    return _HANDLE_IN + _LETTER_IN * max(len(str(entry.get_label())) for entry in column)
