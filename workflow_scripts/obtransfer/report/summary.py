"""`summary.csv`: its columns, how it is written from the grid's evaluations, and how tables and figures read it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from obtransfer.artifacts import atomic_path, read_table
from obtransfer.errors import ObtransferError
from obtransfer.registry import CRITERIA

if TYPE_CHECKING:
    from obtransfer.dag.grid import Point

BACKBONE = ["architecture", "pretraining"]
COLUMNS = [
    *BACKBONE, "source", "criterion", "allocation", "sparsity", "seed", "stage", "batchnorm",
    "task", "is_source", "head", "accuracy", "loss", "num_test", "density",
    "collapsed_layers", "num_classes", "fit_split",
]  # fmt: skip
RUN = ["source", "seed"]
"""The columns that name one run: accuracies are averaged over runs, each with the same weight."""
DENSE = "dense"
UNSEEN_IN_PRETRAINING = ("hebrew", "shapes", "handwritten")
FITTED_ON_TEST = "heads fitted on the test images they are scored on (heads.fit_split: test)"
"""The label of every text and figure that shows frozen heads of the authors' protocol."""


def write_summary(path: Path, rows: Iterable[tuple[Point, Path]]) -> None:
    """Write one row per model of the grid, task and head as a plain CSV.

    Models that read no data appear once for every source and seed, so that each (source, seed) is complete.

    Args:
        path: the table.
        rows: every point of the grid with each of its evaluations; the evaluations of one point follow one another.

    Raises:
        ObtransferError: an evaluation is missing or damaged.
    """
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_summary_rows(rows))


def _summary_rows(evaluations: Iterable[tuple[Point, Path]]) -> Iterator[dict[str, Any]]:
    """A task that is in two suites is reported once."""
    read = cache(lambda path: read_table(path, kind="evaluation"))
    for point, group in groupby(evaluations, key=lambda pair: pair[0]):
        seen: set[tuple[str, str]] = set()
        for _, path in group:
            table = read(path)
            for row in table.rows:
                if (row["task"], row["head"]) not in seen:
                    seen.add((row["task"], row["head"]))
                    yield {
                        **point.columns(),
                        "is_source": row["task"] == point.source,
                        "density": table.metadata["density"],
                        "collapsed_layers": table.metadata["collapsed_layers"],
                        **row,
                    }


def read_summary(path: Path | str) -> pd.DataFrame:
    """Read `summary.csv`, with or without a comment line, and `prepare` it.

    Raises:
        ObtransferError: the file or some of its columns are missing, or it has no rows.
    """
    if not Path(path).is_file():
        raise ObtransferError(f"{path} does not exist; make it with: snakemake --cores 2 {path}")
    return prepare(pd.read_csv(path, comment="#"))


def prepare(rows: pd.DataFrame) -> pd.DataFrame:
    """Check the columns, give empty cells a value, and add `backbone` and `series`.

    A figure draws each `series` in one colour: the criterion, with its allocation where a run compares several. An
    empty seed (of a model that draws nothing at random) becomes 0. Prepared rows pass unchanged.

    Raises:
        ObtransferError: columns are missing, or there are no rows.
    """
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise ObtransferError(
            f"a summary needs the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}; remake summary.csv"
        )
    if rows.empty:
        raise ObtransferError(
            "a summary needs rows; got none, because nothing was evaluated; remake summary.csv"
        )
    frame = rows.copy()
    frame["allocation"] = frame["allocation"].astype(object).fillna("").astype(str)
    frame["source"] = frame["source"].astype(object).fillna("").astype(str)
    frame["seed"] = pd.to_numeric(frame["seed"], errors="coerce").fillna(0).astype("int64")
    frame["is_source"] = frame["is_source"].astype(str).str.lower().isin(["true", "1"])
    frame["backbone"] = frame["architecture"] + "." + frame["pretraining"]
    frame["series"] = frame["criterion"]
    named = frame["allocation"] != ""
    if frame.loc[named, "allocation"].nunique() > 1:
        frame.loc[named, "series"] = frame["criterion"] + ", " + frame["allocation"]
    return frame


def frozen_head_rows(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows that texts and heat maps show: the dense backbone's frozen head, BatchNorm kept."""
    return summary[(summary["head"] == "zero_shot") & (summary["batchnorm"] == "keep")]


def protocol(summary: pd.DataFrame) -> str:
    """`FITTED_ON_TEST` where some frozen heads among the rows were fitted on test images, else an empty text."""
    frozen = summary.loc[summary["head"] == "zero_shot", "fit_split"]
    return FITTED_ON_TEST if (frozen == "test").any() else ""


def series_order(summary: pd.DataFrame) -> list[str]:
    """Series in the order of every figure and table: that of `criterion_rank`, then allocations by name."""
    columns = ["criterion", "allocation", "series"]
    pruned = summary.loc[summary["criterion"] != DENSE, columns].drop_duplicates()
    keys = [(criterion_rank(c), a, s) for c, a, s in pruned.itertuples(index=False)]
    return [series for *_, series in sorted(keys)]


def criterion_rank(label: str) -> tuple[int, str]:
    """A key that sorts labels of criteria in the order of the registry, the other labels by name after them.

    A label that begins with a criterion's name follows that criterion: "obs_block64" comes after "obs".
    """
    order = list(CRITERIA)
    known = [name for name in order if label == name or label.startswith(f"{name}_")]
    return (order.index(max(known, key=len)), label) if known else (len(order), label)


def sparsities(summary: pd.DataFrame) -> list[float]:
    """The sparsities of pruned rows, ascending."""
    return sorted(float(q) for q in summary.loc[summary["criterion"] != DENSE, "sparsity"].unique())


def percent(sparsity: float) -> str:
    """A sparsity as the per cent a reader expects: 0.7 is "70", 0.985 is "98.5"."""
    return f"{round(100 * sparsity, 4):g}"
