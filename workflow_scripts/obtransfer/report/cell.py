"""One cell of the table of criteria: one backbone, treatment, allocation, stage and sparsity; one row per criterion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from obtransfer.report.bootstrap import (
    FEWEST_SOURCES,
    FEWEST_TASKS,
    Accuracies,
    interval,
    once,
    resample,
    share_best,
    source_means,
    transfer_means,
)
from obtransfer.report.prepared import DENSE, criterion_rank

PAIR = ["source", "seed", "task"]


def cell_records(rows: pd.DataFrame, dense: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The cell's rows of `criteria_table`, without the columns that name the cell.

    Args:
        rows: of the pruned models, with `shared`: whether all of the cell's criteria have that (source, seed, task).
        dense: rows of the unpruned model; may be empty.
    """
    names = sorted(rows["criterion"].unique(), key=criterion_rank)
    shared = rows[rows["shared"]]
    data = arrange(shared, names)
    columns = _columns(data) | _dense(data, arrange(dense, [DENSE], places=shared))
    for index, name in enumerate(names):
        own = {key: values[index] for key, values in columns.items()}
        yield {"criterion": name, **_sizes(data), **own, "lead_over": _partner(names, own["lead_over"])}


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


def _sizes(data: Accuracies) -> dict[str, int]:
    return {
        "num_sources": data.known.shape[0],
        "num_seeds": data.known.shape[1],
        "num_tasks": int(data.unseen.any(axis=(0, 1)).sum()),
    }


def _columns(data: Accuracies) -> dict[str, np.ndarray]:
    """Every column of numbers, one value per criterion; `lead_over` as a criterion's place, −1 for none."""
    everything = once(data)
    transfer = transfer_means(data, everything)[:, 0]
    partners = _partners(transfer)
    sizes = _sizes(data)
    sure = sizes["num_sources"] >= FEWEST_SOURCES and sizes["num_tasks"] >= FEWEST_TASKS
    none = partners < 0
    columns = {
        "source_accuracy": source_means(data, everything)[:, 0],
        "transfer_accuracy": transfer,
        "lead_over": partners,
        "lead": np.where(none, np.nan, transfer - transfer[partners]),
    }
    if sure:
        draws = resample(data)
        sampled = transfer_means(data, draws)
        leads = np.where(none[:, None], np.nan, sampled - sampled[partners])
        columns |= (
            _ends("source", source_means(data, draws)) | _ends("transfer", sampled) | _ends("lead", leads)
        )
        columns["probability_best"] = np.where(none, np.nan, share_best(sampled))
        return columns
    names = [f"{name}_{end}" for name in ("source", "transfer", "lead") for end in ("low", "high")]
    return columns | dict.fromkeys([*names, "probability_best"], np.full(len(transfer), np.nan))


def _ends(name: str, samples: np.ndarray) -> dict[str, np.ndarray]:
    low, high = interval(samples).T
    return {f"{name}_low": low, f"{name}_high": high}


def _partners(transfer: np.ndarray) -> np.ndarray:
    """The place of whom each criterion is compared with: [C], −1 for none. Of equal ones the first is the best."""
    if len(transfer) < 2 or np.isnan(transfer).any():
        return np.full(len(transfer), -1)
    best, second = np.argsort(-transfer, kind="stable")[:2]
    partners = np.full(len(transfer), best)
    partners[best] = second
    return partners


def _partner(names: Sequence[str], place: int) -> str:
    return names[place] if place >= 0 else ""


def _dense(data: Accuracies, dense: Accuracies) -> dict[str, np.ndarray]:
    """The unpruned model on the same places, the same for every criterion; NaN where some are missing."""
    missing = np.nan if (data.known & ~dense.known).any() else 1.0
    alike = Accuracies(dense.values, data.known, data.own)
    return {
        f"dense_{name}_accuracy": np.repeat(missing * mean(alike, once(alike))[:, 0], len(data.values))
        for name, mean in (("source", source_means), ("transfer", transfer_means))
    }
