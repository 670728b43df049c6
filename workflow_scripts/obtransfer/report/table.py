"""Mean transfer accuracy as a Markdown table that also reads well on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from obtransfer.report.aggregate import source_accuracy, transfer_accuracy
from obtransfer.report.compare import shown_rows
from obtransfer.report.prepared import DENSE, percent, prepare, series_order, sparsities

_NONE = "–"


def transfer_table(summary: pd.DataFrame, *, by_backbone: bool = True) -> str:
    """Mean accuracy on unseen tasks in per cent: backbones and criteria down, sparsities across.

    A cell reads "pruned → fine-tuned", or one number where nothing was fine-tuned. Frozen dense head, BatchNorm as the
    model came.

    Args:
        summary: rows of `summary.csv`.
        by_backbone: False averages over backbones.

    Returns:
        Markdown with padded columns, without a final newline; a sentence if the run has no unseen tasks.
    """
    summary = prepare(summary)
    means = transfer_accuracy(shown_rows(summary))
    return _table(summary, means, by_backbone) if not means.empty else "This run has no unseen tasks."


def source_table(summary: pd.DataFrame, *, by_backbone: bool = True) -> str:
    """As `transfer_table`, of the accuracy on the source task."""
    summary = prepare(summary)
    means = source_accuracy(shown_rows(summary))
    return (
        _table(summary, means, by_backbone) if not means.empty else "This run does not evaluate its source."
    )


def _table(summary: pd.DataFrame, means: pd.DataFrame, by_backbone: bool) -> str:
    if not by_backbone:
        keys = ["criterion", "series", "sparsity", "stage"]
        means = means.groupby(keys, as_index=False)["mean"].mean().assign(backbone="mean of all")
    removed = sparsities(summary)
    header = ["backbone", "criterion", "dense", *(f"{percent(sparsity)} %" for sparsity in removed)]
    names = dict.fromkeys(summary["backbone"] if by_backbone else means["backbone"])
    lines = [
        [str(backbone), series, *_cells(means[means["backbone"] == backbone], series, removed)]
        for backbone in names
        for series in series_order(summary)
    ]
    return markdown([header, *lines], left=2)


def markdown(lines: Sequence[Sequence[str]], *, left: int) -> str:
    """Lines of cells, the header first, as Markdown; the first `left` columns are flush left, the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rule = [f"{'-' * (width - 1)}{'-' if i < left else ':'}" for i, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _cells(means: pd.DataFrame, series: str, removed: Sequence[float]) -> list[str]:
    dense = means[means["criterion"] == DENSE]
    own = means[means["series"] == series]
    return [_cell(dense), *(_cell(own[own["sparsity"] == sparsity]) for sparsity in removed)]


def _cell(rows: pd.DataFrame) -> str:
    tuned = rows.loc[rows["stage"] == "finetuned", "mean"]
    before = rows.loc[rows["stage"] != "finetuned", "mean"]
    first = _number(before)
    return f"{first} → {_number(tuned)}" if len(tuned) else first


def _number(values: pd.Series) -> str:
    return f"{100 * values.iloc[0]:.1f}" if len(values) else _NONE
