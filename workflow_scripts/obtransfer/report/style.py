"""What all figures share: colours, markers, fonts, and files whose bytes depend on the data alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any
from zlib import crc32

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from obtransfer.artifacts import atomic_path
from obtransfer.registry import CRITERIA

DOTS_PER_INCH = 150
GREY = "#8a8a8a"
INK = "#222222"
CHANCE_LINE = (0, (1, 2))
# Okabe and Ito's colours and two of Tol's for criteria, in the order of the registry; black is kept for "dense". Labels of
# other names share the free ones. All are at least 8 (CIELAB) apart for readers with full, red-, green- or blue-blind vision.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#332288", GREY,
)  # fmt: skip
_FREE = (
    "#4B0055", "#661100", "#B15928", "#004488", "#999933", "#FF9DA7", "#EE8866", "#AA7744", "#7A5200", "#6699CC",
)  # fmt: skip
_MARKERS = ("o", "s", "^", "X", "D", "v", "P", "*", "<", ">", "h", "d", "p", "8")
_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.titlecolor": INK,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.dpi": DOTS_PER_INCH,
    "svg.hashsalt": "obtransfer",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class SeriesStyle:
    """How one series is drawn everywhere."""

    color: str
    marker: str


def plot_settings() -> AbstractContextManager[None]:
    """The project's settings for a `with` block, on top of matplotlib's defaults; a user's matplotlibrc is ignored."""
    settings: Any = {**matplotlib.rcParamsDefault, **_SETTINGS, "backend": "Agg"}
    return matplotlib.rc_context(settings)


def series_styles(series: Sequence[str]) -> dict[str, SeriesStyle]:
    """A colour and a marker for every series.

    A criterion of the registry has the colour of its place there (in its first allocation). Further criteria and other
    labels have a free colour that their name picks, so that it stays when a run gains or loses criteria; where two pick
    the same, the later takes the next one. Where all free colours are taken they repeat; markers still differ.
    """
    known: dict[str, str | None] = dict(zip(CRITERIA, _COLOURS, strict=False))
    colors: dict[str, str] = {}
    for name in series:
        colors[name] = known.pop(name.split(", ")[0], None) or _free_color(name, set(colors.values()))
    return {name: SeriesStyle(colors[name], _MARKERS[i % len(_MARKERS)]) for i, name in enumerate(series)}


def _free_color(name: str, taken: set[str]) -> str:
    start = crc32(name.encode()) % len(_FREE)
    turned = (*_FREE[start:], *_FREE[:start])
    return next((color for color in turned if color not in taken), turned[0])


def add_title(figure: Figure, title: str) -> None:
    """A title over the whole figure, on as many lines as its width needs."""
    figure.suptitle(fill(title, width=max(20, int(figure.get_figwidth() / 0.105))))


def message_figure(text: str) -> Figure:
    """A small figure that says why there is nothing to draw."""
    figure = Figure(figsize=(6, 1.6))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=INK, wrap=True)
    return figure


def save(figure: Figure, folder: Path | str, name: str) -> list[Path]:
    """Write `folder/name.png` and `.svg`, atomically; equal figures give equal bytes (no date, fixed element names).

    The layout is computed once and kept, and each file is drawn once (`savefig` draws everything twice).
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    png, svg = Path(folder) / f"{name}.png", Path(folder) / f"{name}.svg"
    with atomic_path(png) as partial:
        FigureCanvasAgg(figure).print_png(partial)
    with atomic_path(svg) as partial:
        FigureCanvasSVG(figure).print_svg(partial, metadata={"Date": None})
    return [png, svg]
