"""One row per model of the grid, task and head: `summary.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from obtransfer.artifacts import Table, atomic_path, read_table
from obtransfer.dag import grid

COLUMNS = (
    "architecture", "pretraining", "source", "criterion", "allocation", "sparsity", "seed", "stage", "batchnorm",
    "task", "is_source", "head", "accuracy", "loss", "num_test", "density",
    "collapsed_layers", "num_classes", "fit_split",
)  # fmt: skip


def write_summary(path: Path, results: Path, config: Mapping[str, Any]) -> None:
    """Write the table of the whole grid as a plain CSV.

    Models that read no data appear once for every source and seed, so that each (source, seed) is complete.

    Args:
        path: the table.
        results: folder of the evaluations.
        config: the keys `grid`, `criteria` and `suites` of the configuration.

    Raises:
        ObtransferError: an evaluation is missing or damaged.
    """
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(summary_rows(results, config))


def summary_rows(results: Path, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of `write_summary`; a task in two suites is reported once."""

    @cache
    def read(name: str) -> Table:
        return read_table(results / name, kind="evaluation")

    for point in grid.points(config):
        seen: set[tuple[str, str]] = set()
        for suite in config["suites"]:
            table = read(grid.evaluation(config, point, suite))
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
