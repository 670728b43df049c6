"""Means over tasks, sources and seeds of a prepared summary.

One *run* is one (source, seed). Transfer accuracy of a run is the mean over its unseen tasks (`is_source` False), each
with the same weight. Runs are then averaged, each with the same weight. Accuracies stay in [0, 1] here.
"""

from __future__ import annotations

import pandas as pd

from obtransfer.report.summary import BACKBONE, RUN

SETTING = [
    "backbone", *BACKBONE, "criterion", "allocation", "series", "sparsity", "stage", "batchnorm", "head",
]  # fmt: skip


def transfer_by_run(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy over the unseen tasks: one row per setting, source and seed, with `accuracy`, `num_tasks`."""
    return _by_run(summary[~summary["is_source"]])


def task_accuracy(summary: pd.DataFrame) -> pd.DataFrame:
    """Accuracy per task and role, averaged over sources and seeds: one row per setting, `task`, `is_source`."""
    return summary.groupby([*SETTING, "task", "is_source"], sort=False)["accuracy"].mean().reset_index()


def transfer_accuracy(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy over unseen tasks with its spread *over tasks*, one row per setting.

    The spread is that of the tasks' means over runs, so differences between sources or seeds that average out are not
    part of it.

    Returns:
        `mean`, `std` (n − 1; NaN for one task), `minimum`, `lower` and `upper` (quartiles), `maximum`, `num_tasks`,
        `num_runs`.
    """
    tasks = task_accuracy(summary[~summary["is_source"]]).groupby(SETTING)["accuracy"]
    spread = pd.DataFrame(
        {
            "std": tasks.std(),
            "minimum": tasks.min(),
            "lower": tasks.quantile(0.25),
            "upper": tasks.quantile(0.75),
            "maximum": tasks.max(),
            "num_tasks": tasks.count(),
        }
    )
    return _over_runs(transfer_by_run(summary)).join(spread).reset_index()


def source_accuracy(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy on the source task, one row per setting: `mean`, `num_runs`."""
    return _over_runs(_by_run(summary[summary["is_source"]])).reset_index()


def fine_tuning_change(tasks: pd.DataFrame) -> pd.DataFrame:
    """Accuracy fine-tuned minus pruned (dense fine-tuned minus dense), for rows of `task_accuracy`.

    Only settings that have both stages appear.

    Returns:
        The key columns without `stage`, and `before`, `after`, `accuracy` = after − before, in [−1, 1].
    """
    keys = [name for name in tasks.columns if name not in ("stage", "accuracy")]
    after = tasks[tasks["stage"] == "finetuned"].drop(columns="stage").rename(columns={"accuracy": "after"})
    before = tasks[tasks["stage"] != "finetuned"].drop(columns="stage").rename(columns={"accuracy": "before"})
    change = before.merge(after, on=keys, validate="one_to_one")
    return change.assign(accuracy=change["after"] - change["before"])


def _by_run(rows: pd.DataFrame) -> pd.DataFrame:
    grouped = rows.groupby([*SETTING, *RUN], sort=True)["accuracy"]
    return pd.DataFrame({"accuracy": grouped.mean(), "num_tasks": grouped.count()}).reset_index()


def _over_runs(runs: pd.DataFrame) -> pd.DataFrame:
    grouped = runs.groupby(SETTING, sort=True)["accuracy"]
    return pd.DataFrame({"mean": grouped.mean(), "num_runs": grouped.count()})
