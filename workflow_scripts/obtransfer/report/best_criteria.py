"""The best criterion on unseen tasks at every sparsity, and what pruning and fine-tuning do to it, as paired differences."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan, sqrt

import pandas as pd

from obtransfer.report.summary import DENSE, RUN, frozen_head_rows


@dataclass(frozen=True)
class Best:
    """The best criterion at one sparsity and stage.

    Attributes:
        accuracy: mean over unseen tasks, sources, seeds and backbones, in [0, 1].
        difference: its lead over `runner_up` on the same tasks, in [0, 1]; NaN without one.
        error: standard error of that lead over tasks (a task's lead is first averaged over all else); NaN for one task.
    """

    sparsity: float
    stage: str
    series: str
    accuracy: float
    runner_up: str = ""
    difference: float = nan
    error: float = nan

    @property
    def clear(self) -> bool:
        """Whether the lead is larger than its standard error; False where that is not known."""
        return not isnan(self.error) and self.difference > self.error


@dataclass(frozen=True)
class Change:
    """What a step did to the models of one criterion and sparsity: accuracies in [0, 1] before and after it."""

    source_before: float
    source_after: float
    unseen_before: float
    unseen_after: float
    num_tasks: int
    num_gained: int


def best_criteria(summary: pd.DataFrame) -> list[Best]:
    """The best criterion at every sparsity and stage, by mean accuracy on unseen tasks.

    Criteria are compared on what all of them have: the (backbone, source, task) triples where each was evaluated.
    """
    rows = frozen_head_rows(summary)
    rows = rows[~rows["is_source"] & (rows["criterion"] != DENSE)]
    return [
        _best(float(sparsity), stage, part)
        for sparsity in sorted(rows["sparsity"].unique())
        for stage in ("pruned", "finetuned")
        if not (part := rows[(rows["sparsity"] == sparsity) & (rows["stage"] == stage)]).empty
    ]


def pruning_change(summary: pd.DataFrame, best: Best) -> Change | None:
    """From dense to pruned with `best.series` at `best.sparsity`; None where either is missing."""
    rows = frozen_head_rows(summary)
    return _change(rows[rows["stage"] == DENSE], _models(rows, best, "pruned"))


def tuning_change(summary: pd.DataFrame, best: Best | None) -> Change | None:
    """From pruned to fine-tuned with `best.series` at `best.sparsity`; for None, from dense to dense fine-tuned."""
    rows = frozen_head_rows(summary)
    if best is None:
        dense = rows[rows["criterion"] == DENSE]
        return _change(dense[dense["stage"] == DENSE], dense[dense["stage"] == "finetuned"])
    return _change(_models(rows, best, "pruned"), _models(rows, best, "finetuned"))


def _best(sparsity: float, stage: str, rows: pd.DataFrame) -> Best:
    table = rows.pivot_table(index=["backbone", "source", "task"], columns="series", values="accuracy")
    common = table.dropna()
    means = common.mean().sort_values(ascending=False, kind="stable")
    first, *others = map(str, means.index)
    if not others:
        return Best(sparsity, stage, first, float(means.iloc[0]))
    lead = (common[first] - common[others[0]]).groupby(level="task").mean()
    error = float(lead.std()) / sqrt(len(lead))
    difference = float(means.iloc[0] - means.iloc[1])
    return Best(sparsity, stage, first, float(means.iloc[0]), others[0], difference, error)


def _models(rows: pd.DataFrame, best: Best, stage: str) -> pd.DataFrame:
    chosen = (rows["series"] == best.series) & (rows["sparsity"] == best.sparsity) & (rows["stage"] == stage)
    return rows[chosen]


def _change(before: pd.DataFrame, after: pd.DataFrame) -> Change | None:
    keys = ["backbone", *RUN, "task", "is_source"]
    pairs = before[[*keys, "accuracy"]].merge(after[[*keys, "accuracy"]], on=keys, suffixes=("_0", "_1"))
    if pairs.empty:
        return None
    unseen = pairs[~pairs["is_source"]]
    gain = (unseen["accuracy_1"] - unseen["accuracy_0"]).groupby(unseen["task"]).mean()
    source_before, source_after = _means(pairs[pairs["is_source"]])
    unseen_before, unseen_after = _means(unseen)
    return Change(source_before, source_after, unseen_before, unseen_after, len(gain), int((gain > 0).sum()))


def _means(pairs: pd.DataFrame) -> tuple[float, float]:
    return float(pairs["accuracy_0"].mean()), float(pairs["accuracy_1"].mean())
