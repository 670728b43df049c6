"""`criteria.csv`: source and transfer accuracy by criterion, sparsity and backbone, and how sure their ranking is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from obtransfer.errors import ObtransferError
from obtransfer.report import bootstrap
from obtransfer.report.bootstrap import Accuracies, source_means, transfer_means
from obtransfer.report.summary import DENSE, RUN, criterion_rank

CELL = ["architecture", "pretraining", "batchnorm", "allocation", "stage", "sparsity"]
"""The columns that name one cell of the comparison; its rows are criteria."""
PLACE = [*RUN, "task"]
COLUMNS = (
    "architecture", "pretraining", "batchnorm", "allocation", "sparsity", "stage", "criterion",
    "source_accuracy", "source_low", "source_high", "transfer_accuracy", "transfer_low", "transfer_high",
    "num_sources", "num_seeds", "num_tasks", "dense_source_accuracy", "dense_transfer_accuracy",
    "lead_over", "lead", "lead_low", "lead_high", "probability_best", "fit_split",
)  # fmt: skip
_STAGES = ("pruned", "finetuned")


def criteria_table(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per backbone, BatchNorm treatment, allocation, stage, sparsity and criterion; frozen dense head.

    Criteria of one cell (all of these but the criterion) are compared on the (source, seed, task) that all of them
    have. Rows of a source's own task enter `source_accuracy` only. Intervals and `probability_best` (the share of
    resamples with the highest transfer accuracy) are those of `bootstrap`; they are empty with fewer than two sources
    or three unseen tasks. `lead` is the difference in transfer accuracy to `lead_over`: the second best criterion for
    the best one, the best one for all others. `dense_*` is the unpruned model treated likewise (fine-tuned too where
    `stage` is finetuned) on the same rows, empty where it lacks some of them. `fit_split` names the images that the
    frozen heads were fitted on.

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
    dense_by_stage = dict(list(dense.groupby([*CELL[:3], "stage"])))
    num_criteria = pruned.groupby(CELL)["criterion"].transform("nunique")
    having = pruned.groupby([*CELL, *PLACE])["criterion"].transform("size")
    pruned = pruned.assign(shared=having == num_criteria)
    cells: list[pd.DataFrame] = []
    for cell, part in pruned.groupby(CELL):
        compared = _compare(part, dense_by_stage.get((*cell[:3], cell[4]), dense.iloc[:0]))
        for name in CELL:
            compared[name] = part[name].iloc[0]
        compared["fit_split"] = " and ".join(sorted(part["fit_split"].unique()))
        cells.append(compared)
    table = pd.concat(cells, ignore_index=True) if cells else pd.DataFrame(columns=list(COLUMNS))
    return _ordered(table[list(COLUMNS)], list(dict.fromkeys(rows["backbone"])))


def arrange(rows: pd.DataFrame, names: Sequence[str], *, places: pd.DataFrame | None = None) -> Accuracies:
    """The rows as an array.

    Args:
        rows: at most one per criterion, source, seed and task.
        names: the criteria, in order.
        places: rows whose sources, seeds and tasks are the axes; by default `rows`.
    """
    places = rows if places is None else places
    sources, seeds = sorted(places["source"].unique()), sorted(places["seed"].unique())
    tasks = sorted({*places["task"], *sources})
    axes = {"criterion": list(names), "source": sources, "seed": seeds, "task": tasks}
    values = np.full([len(axis) for axis in axes.values()], np.nan)
    found = np.array([pd.Index(axis).get_indexer(rows[name]) for name, axis in axes.items()])
    inside = (found >= 0).all(axis=0)
    values[tuple(found[:, inside])] = rows["accuracy"].to_numpy()[inside]
    own = np.array([tasks.index(source) for source in sources], dtype=int)
    return Accuracies(np.nan_to_num(values), ~np.isnan(values).any(axis=0), own)


def _compare(rows: pd.DataFrame, dense: pd.DataFrame) -> pd.DataFrame:
    """One cell: one row per criterion, without the columns that name the cell.

    Args:
        rows: of the pruned models, with `shared`: whether all of the cell's criteria have that (source, seed, task).
        dense: rows of the unpruned model; may be empty.
    """
    names = sorted(rows["criterion"].unique(), key=criterion_rank)
    shared = rows[rows["shared"]]
    data = arrange(shared, names)
    once = bootstrap.once(data)
    transfer = transfer_means(data, once)[:, 0]
    rivals = _rivals(transfer)
    alone = rivals < 0
    table = pd.DataFrame(
        {
            "criterion": names,
            "source_accuracy": source_means(data, once)[:, 0],
            "transfer_accuracy": transfer,
            "num_sources": data.known.shape[0],
            "num_seeds": data.known.shape[1],
            "num_tasks": int(data.unseen.any(axis=(0, 1)).sum()),
            "lead_over": ["" if rival < 0 else names[rival] for rival in rivals],
            "lead": np.where(alone, np.nan, transfer - transfer[rivals]),
        }
    )
    dense_means = _dense_means(data, arrange(dense, [DENSE], places=shared))
    return table.assign(**_intervals(data, rivals), **dense_means)


def _rivals(transfer: np.ndarray) -> np.ndarray:
    """The index of the criterion each one is compared with: [C], −1 for none. The first of equal ones is the best."""
    if len(transfer) < 2 or np.isnan(transfer).any():
        return np.full(len(transfer), -1)
    best, second = np.argsort(-transfer, kind="stable")[:2]
    rivals = np.full(len(transfer), best)
    rivals[best] = second
    return rivals


def _intervals(data: Accuracies, rivals: np.ndarray) -> dict[str, np.ndarray]:
    """Both ends of every interval and `probability_best`, one value per criterion; NaN where the data are too few."""
    names = [f"{name}_{end}" for name in ("source", "transfer", "lead") for end in ("low", "high")]
    num_sources, num_tasks = data.known.shape[0], int(data.unseen.any(axis=(0, 1)).sum())
    if num_sources < bootstrap.FEWEST_SOURCES or num_tasks < bootstrap.FEWEST_TASKS:
        return dict.fromkeys([*names, "probability_best"], np.full(len(rivals), np.nan))
    draws = bootstrap.resample(data)
    transfer = transfer_means(data, draws)
    alone = rivals < 0
    leads = np.where(alone[:, None], np.nan, transfer - transfer[rivals])
    ends = [bootstrap.interval(samples) for samples in (source_means(data, draws), transfer, leads)]
    best = np.where(alone, np.nan, bootstrap.share_best(transfer))
    return dict(zip(names, np.concatenate(ends, axis=1).T, strict=True)) | {"probability_best": best}


def _dense_means(data: Accuracies, dense: Accuracies) -> dict[str, float]:
    """The unpruned model on the same places; NaN where some are missing."""
    missing = np.nan if (data.known & ~dense.known).any() else 1.0
    alike = Accuracies(dense.values, data.known, data.own)
    return {
        f"dense_{name}_accuracy": float(missing * mean(alike, bootstrap.once(alike))[0, 0])
        for name, mean in (("source", source_means), ("transfer", transfer_means))
    }


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
            f"{wrong['accuracy'].iloc[0]} ({_name(wrong)}); remake summary.csv"
        )
    twice = rows[rows.duplicated([*CELL, "criterion", *PLACE])]
    if len(twice):
        raise ObtransferError(
            f"every model, task and head may appear once; {len(twice)} rows of the summary are repeated, the first is "
            f"{_name(twice)}; remake summary.csv, and join only summaries of different models"
        )


def _name(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return ", ".join(f"{name} {first[name]}" for name in [*CELL, "criterion", *PLACE])
