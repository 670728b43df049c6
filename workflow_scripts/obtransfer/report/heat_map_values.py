"""The numbers behind one heat map panel: tasks down, the unpruned model and then sparsities within criteria across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import pandas as pd

from obtransfer.report.summary import DENSE, UNSEEN_IN_PRETRAINING, percent

GAP = 0.35


@dataclass(frozen=True)
class HeatMapValues:
    """Values of one backbone, with their labels.

    Attributes:
        values: [rows, columns], accuracy or difference in per cent, NaN where there is none.
        rows: labels of the tasks; `row_groups` gives each its group (0 source, 1 unseen, 2 unseen in pre-training too).
        columns: labels (sparsity in per cent); `column_groups` gives each its criterion.
    """

    values: np.ndarray
    rows: list[str]
    row_groups: list[int]
    columns: list[str]
    column_groups: list[str]

    def lefts(self) -> np.ndarray:
        """Left edge of every column, in cells; groups are set apart by `GAP`."""
        return _edges(self.column_groups)

    def tops(self) -> np.ndarray:
        """Upper edge of every row, in cells."""
        return _edges(self.row_groups)

    def spans(self) -> list[tuple[str, float]]:
        """Every criterion with the middle of its columns, in cells."""
        pairs = zip(self.column_groups, self.lefts(), strict=True)
        groups = [
            (name, [left for _, left in part]) for name, part in groupby(pairs, key=lambda pair: pair[0])
        ]
        return [(name, float(lefts[0] + lefts[-1] + 1) / 2) for name, lefts in groups]


def heat_map_values(rows: pd.DataFrame, series: Sequence[str]) -> HeatMapValues:
    """Arrange the rows of one backbone (of `task_accuracy` or `fine_tuning_change`, one stage, head and BatchNorm).

    The source comes first (the mean of the source tasks, when there are several); the tasks that no pre-training saw
    come last, with a dagger. A task that is a source in one run and unseen in another counts in both places.
    """
    unseen = rows[~rows["is_source"]]
    names = list(dict.fromkeys(unseen["task"]))
    known = [name for name in names if name not in UNSEEN_IN_PRETRAINING]
    last = [name for name in names if name in UNSEEN_IN_PRETRAINING]
    lines = [rows[rows["is_source"]], *(unseen[unseen["task"] == name] for name in [*known, *last])]
    labels = [_source_label(lines[0]), *known, *(f"{name} †" for name in last)]
    groups = [0, *(1 for _ in known), *(2 for _ in last)]
    kept = [index for index, line in enumerate(lines) if not line.empty]
    cells = [(DENSE, 0.0)] if (rows["criterion"] == DENSE).any() else []
    present = set(rows["series"])
    removed = sorted(float(q) for q in rows.loc[rows["criterion"] != DENSE, "sparsity"].unique())
    cells += [(name, sparsity) for name in series if name in present for sparsity in removed]
    return HeatMapValues(
        values=np.array([_values(lines[index], cells) for index in kept]).reshape(len(kept), len(cells)),
        rows=[labels[index] for index in kept],
        row_groups=[groups[index] for index in kept],
        columns=[percent(sparsity) for _, sparsity in cells],
        column_groups=[name for name, _ in cells],
    )


def _values(line: pd.DataFrame, cells: Sequence[tuple[str, float]]) -> list[float]:
    found = line.groupby(["series", "sparsity"])["accuracy"].mean().to_dict()
    return [100 * found.get(cell, float("nan")) for cell in cells]


def _source_label(rows: pd.DataFrame) -> str:
    sources = list(dict.fromkeys(rows["task"]))
    return f"{sources[0]} (source)" if len(sources) == 1 else f"{len(sources)} sources (mean)"


def _edges(groups: Sequence[object]) -> np.ndarray:
    steps = [1.0 if before == after else 1.0 + GAP for before, after in pairwise(groups)]
    return np.concatenate([[0.0], np.cumsum(steps)])
