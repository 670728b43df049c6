"""The legend of the line figures: below the panels, one column per kind of thing it explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from obtransfer.report.style import CHANCE_LINE, GREY, INK, SeriesStyle, Variant

_LETTER_IN = 0.078
_HANDLE_IN = 0.62
_ROW_IN = 0.19


def add_legend(
    figure: Figure,
    styles: Mapping[str, SeriesStyle],
    variants: Sequence[Variant],
    *,
    chance: Mapping[str, float],
    bands: bool,
) -> None:
    """Explain colours (first columns), line styles and band (next), and reference marks (last).

    The figure grows by what the legend needs, so that the panels keep their size.

    Args:
        figure: mutated.
        styles: series to colour and marker.
        variants: the line styles in use.
        chance: for every role, the accuracy of guessing in per cent.
        bands: whether the spread over tasks is drawn.
    """
    series: list[Artist] = [_line(name, style.color, style.marker) for name, style in styles.items()]
    others = [_kinds(variants, bands), _marks(variants, chance)]
    room = figure.get_figwidth() - sum(_width(column) for column in others)
    height = max(4, -(-len(series) // max(1, int(room / _width(series)))))
    columns = [series[i : i + height] for i in range(0, len(series), height)] + others
    height = max(len(column) for column in columns)
    padded = [column + [_blank() for _ in range(height - len(column))] for column in columns]
    figure.set_figwidth(max(figure.get_figwidth(), sum(_width(column) for column in columns)))
    figure.set_figheight(figure.get_figheight() + _ROW_IN * height + 0.15)
    figure.legend(handles=list(chain(*padded)), loc="outside lower center", ncols=len(columns))


def _kinds(variants: Sequence[Variant], bands: bool) -> list[Artist]:
    lines: list[Artist] = [
        _line(v.label, INK, "o", linestyle=v.linestyle, markerfacecolor=INK if v.filled else "white")
        for v in variants
    ]
    banded = [v.label for v in variants if v.band] if bands else []
    label = "middle half of unseen tasks"
    return lines + [Patch(color=INK, alpha=0.15, linewidth=0, label=label) for _ in banded]


def _marks(variants: Sequence[Variant], chance: Mapping[str, float]) -> list[Artist]:
    controls = [v for v in variants if v.control_label]
    levels = " / ".join(dict.fromkeys(f"{level:.3g} %" for level in chance.values()))
    return [
        _line("dense", INK, "", linewidth=1),
        *(
            _line(v.control_label, INK, v.control_marker, linestyle="", markerfacecolor="white")
            for v in controls
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
