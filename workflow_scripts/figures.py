"""Draw the summary, and say in a few lines what it shows."""

from pathlib import Path

from obtransfer.runtime.step import run_step


def figures(summary: Path, figures: Path, text: Path) -> None:
    """Write the folder `figures` (PNG and SVG) and the closing `text`."""
    import pandas as pd
    from obtransfer.artifacts import atomic_path
    from obtransfer.report.figures import draw_all
    from obtransfer.report.text import closing_text

    draw_all(summary, figures)
    with atomic_path(text) as partial:
        partial.write_text(closing_text(pd.read_csv(summary), summary.parent), encoding="utf-8")


if "snakemake" in globals():
    run_step(figures, globals()["snakemake"])
