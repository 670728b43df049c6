"""Collect all evaluations of the grid in one table."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def summarise(summary: Path, *, points: list[tuple[dict[str, Any], str]]) -> None:
    """Write `summary`, a plain CSV with one row per model of the grid, task and head.

    Args:
        summary: the table, in the folder of results.
        points: the fields of every point of the grid, each with the path of an evaluation in that folder.
    """
    from obtransfer.dag.grid import Point
    from obtransfer.report.summary import write_summary

    write_summary(summary, ((Point(**fields), summary.parent / path) for fields, path in points))


if "snakemake" in globals():
    run_step(summarise, globals()["snakemake"])
