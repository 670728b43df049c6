"""Which criterion keeps source and unseen tasks best, and how sure that is."""

from pathlib import Path

from obtransfer.runtime.step import run_step


def compare_criteria(summary: Path, table: Path, text: Path) -> None:
    """Write `table` (CSV) and `text` (Markdown): criterion × sparsity × backbone with intervals."""
    from obtransfer.report.criteria import write_criteria

    write_criteria(summary, table, text)


if "snakemake" in globals():
    run_step(compare_criteria, globals()["snakemake"])
