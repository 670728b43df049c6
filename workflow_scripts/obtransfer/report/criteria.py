"""Criterion × sparsity × backbone: source and transfer accuracy, and how sure the ranking of the criteria is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from obtransfer.artifacts import atomic_path
from obtransfer.errors import ObtransferError
from obtransfer.report.cell import PAIR, cell_records
from obtransfer.report.criteria_text import criteria_text
from obtransfer.report.prepared import DENSE, criterion_rank, read_summary

CELL = ["architecture", "pretraining", "batchnorm", "allocation", "stage", "sparsity"]
COLUMNS = (
    "architecture", "pretraining", "batchnorm", "allocation", "sparsity", "stage", "criterion",
    "source_accuracy", "source_low", "source_high", "transfer_accuracy", "transfer_low", "transfer_high",
    "num_sources", "num_seeds", "num_tasks", "dense_source_accuracy", "dense_transfer_accuracy",
    "lead_over", "lead", "lead_low", "lead_high", "probability_best", "fit_split",
)  # fmt: skip
_STAGES = ("pruned", "finetuned")


def write_criteria(summary_path: Path, table: Path, text: Path) -> None:
    """Write the tidy `table` (CSV) and the `text` (Markdown) made from it.

    Raises:
        ObtransferError: as `read_summary` and `criteria_table`.
    """
    rows = criteria_table(read_summary(summary_path))
    with atomic_path(table) as partial:
        rows.to_csv(partial, index=False, lineterminator="\n")
    with atomic_path(text) as partial:
        partial.write_text(criteria_text(rows), encoding="utf-8")


def criteria_table(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per backbone, BatchNorm treatment, allocation, stage, sparsity and criterion; frozen dense head.

    Criteria of one cell (all of these but the criterion) are compared on the (source, seed, task) that all of them
    have; rows of a source's own task enter `source_accuracy` only. Intervals and `probability_best` (the share of
    resamples with the highest transfer accuracy) are those of `bootstrap`; they are empty with fewer than two sources
    or three unseen tasks. `lead` is the difference in transfer accuracy to `lead_over`: the next best criterion for
    the best one, the best one for all others. `dense_*` is the unpruned model treated likewise (fine-tuned too where
    `stage` is finetuned) on the same rows, empty where it lacks some of them. `fit_split`: the images that the frozen
    heads were fitted on.

    Args:
        summary: prepared rows.

    Returns:
        `COLUMNS`; accuracies in [0, 1], differences in [−1, 1], rounded to six digits.

    Raises:
        ObtransferError: an accuracy is outside [0, 1], or a model, task and head appear twice.
    """
    rows = summary[summary["head"] == "zero_shot"]
    _check(rows)
    pruned = rows[rows["criterion"] != DENSE]
    dense = rows[rows["criterion"] == DENSE].replace({"stage": {DENSE: "pruned"}})
    controls = dict(list(dense.groupby([*CELL[:3], "stage"])))
    num_criteria = pruned.groupby(CELL)["criterion"].transform("nunique")
    having = pruned.groupby([*CELL, *PAIR])["criterion"].transform("size")
    pruned = pruned.assign(shared=having == num_criteria)
    records = [
        {
            **dict(zip(CELL, cell, strict=True)),
            **record,
            "fit_split": " and ".join(sorted(part["fit_split"].unique())),
        }
        for cell, part in pruned.groupby(CELL)
        for record in cell_records(part, controls.get((*cell[:3], cell[4]), dense.iloc[:0]))
    ]
    return _ordered(pd.DataFrame(records, columns=list(COLUMNS)), list(dict.fromkeys(rows["backbone"])))


def _ordered(table: pd.DataFrame, backbones: list[str]) -> pd.DataFrame:
    """Rows in the summary's order of backbones, and rounded numbers; no "-0.0" is left."""
    numbers = table.select_dtypes("float").columns
    table[numbers] = table[numbers].round(6) + 0.0
    keys = pd.DataFrame(
        {
            "backbone": (table["architecture"] + "." + table["pretraining"]).map(backbones.index),
            **table[["batchnorm", "allocation"]],
            "stage": table["stage"].map(_STAGES.index),
            "sparsity": table["sparsity"],
            "criterion": table["criterion"].map(criterion_rank),
        }
    )
    return table.loc[keys.sort_values(keys.columns.tolist()).index].reset_index(drop=True)


def _check(rows: pd.DataFrame) -> None:
    wrong = rows[~rows["accuracy"].between(0, 1)]
    if len(wrong):
        raise ObtransferError(
            f"accuracies must lie in [0, 1]; {len(wrong)} rows of the summary do not, the first has "
            f"{wrong['accuracy'].iloc[0]} ({_name(wrong)}). Remake summary.csv"
        )
    twice = rows[rows.duplicated([*CELL, "criterion", *PAIR])]
    if len(twice):
        raise ObtransferError(
            f"every model, task and head may appear once; {len(twice)} rows of the summary are repeated, the first is "
            f"{_name(twice)}. Remake summary.csv, and join only summaries of different models"
        )


def _name(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return ", ".join(f"{name} {first[name]}" for name in [*CELL, "criterion", *PAIR])
