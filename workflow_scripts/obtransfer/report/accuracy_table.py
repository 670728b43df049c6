"""Mean accuracy by backbone, criterion and sparsity, as a Markdown table that also reads well on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from obtransfer.report.summary import DENSE, frozen_head_rows, percent, series_order, sparsities

_NONE = "–"


def accuracy_table(
    summary: pd.DataFrame, mean: Callable[[pd.DataFrame], pd.DataFrame], *, by_backbone: bool = True
) -> str:
    """Mean accuracy in per cent: backbones and criteria down, sparsities across; frozen dense head, BatchNorm kept.

    A cell reads "pruned → fine-tuned", or one number where nothing was fine-tuned.

    Args:
        summary: prepared rows.
        mean: `transfer_accuracy` or `source_accuracy`.
        by_backbone: False averages over backbones.

    Returns:
        Markdown with padded columns, without a final newline.
    """
    means, names = mean(frozen_head_rows(summary)), list(dict.fromkeys(summary["backbone"]))
    if not by_backbone:
        names = ["mean of all"]
        keys = ["criterion", "series", "sparsity", "stage"]
        means = means.groupby(keys, as_index=False)["mean"].mean().assign(backbone=names[0])
    removed = sparsities(summary)
    header = ["backbone", "criterion", "dense", *(f"{percent(sparsity)} %" for sparsity in removed)]
    lines = [
        [name, series, *_cells(means[means["backbone"] == name], series, removed)]
        for name in names
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
