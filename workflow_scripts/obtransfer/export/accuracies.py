"""Accuracies of an exported model, from its evaluations and the dense model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from obtransfer.artifacts import read_table

HEADS = ("zero_shot", "probe")


def accuracy_rows(evaluations: Sequence[Path], dense: Sequence[Path]) -> list[dict[str, Any]]:
    """One row a task: num_test, and zero_shot and probe of this model and (``dense_``) of the one it was made from.

    A task of several suites is told once. `fit_split`: on which split the frozen head was fitted.
    """
    rows: dict[str, dict[str, Any]] = {}
    for prefix, paths in (("", evaluations), ("dense_", dense)):
        for path in paths:
            for row in read_table(path, kind="evaluation").rows:
                found = rows.setdefault(row["task"], {"task": row["task"], "num_test": int(row["num_test"])})
                found[prefix + row["head"]] = float(row["accuracy"])
                if row["head"] == "zero_shot":
                    found["fit_split"] = row.get("fit_split", "train")
    return list(rows.values())


def accuracy_of(rows: Sequence[dict[str, Any]], task: str, head: str) -> float | None:
    """The evaluated accuracy of a task, or None where it was not evaluated."""
    return next((row[head] for row in rows if row["task"] == task), None)
