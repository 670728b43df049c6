"""Collect every evaluation of the grid in one table."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def summarise(summary: Path, *, settings: dict[str, Any]) -> None:
    """Write `summary`, a plain CSV with one row per model of the grid, task and head."""
    from obtransfer.report.summary import write_summary

    write_summary(summary, Path(settings["results"]), settings)


if "snakemake" in globals():
    run_step(summarise, globals()["snakemake"])
