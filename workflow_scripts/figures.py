"""Draw the figures of the summary, and write what they show in a few lines."""

from pathlib import Path

from obtransfer.runtime.step import run_step


def figures(summary: Path, figures: Path, text: Path) -> None:
    """Write the folder `figures` (PNG and SVG) and the closing `text`."""
    from obtransfer.artifacts import atomic_path
    from obtransfer.report.closing_text import closing_text
    from obtransfer.report.figures.base import draw_all
    from obtransfer.report.summary import read_summary

    draw_all(summary, figures)
    with atomic_path(text) as partial:
        partial.write_text(closing_text(read_summary(summary), summary.parent), encoding="utf-8")


if "snakemake" in globals():
    run_step(figures, globals()["snakemake"])
