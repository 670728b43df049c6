"""Compare criteria on the source and on unseen tasks, with intervals."""

from pathlib import Path

from obtransfer.runtime.step import run_step


def compare_criteria(summary: Path, table: Path, text: Path) -> None:
    """Write criterion × sparsity × backbone with intervals: `table` (CSV), and `text` (Markdown) made from it."""
    from obtransfer.artifacts import atomic_path
    from obtransfer.report.criteria_page import criteria_page
    from obtransfer.report.criteria_table import criteria_table
    from obtransfer.report.summary import read_summary

    rows = criteria_table(read_summary(summary))
    with atomic_path(table) as partial:
        rows.to_csv(partial, index=False, lineterminator="\n")
    with atomic_path(text) as partial:
        partial.write_text(criteria_page(rows), encoding="utf-8")


if "snakemake" in globals():
    run_step(compare_criteria, globals()["snakemake"])
