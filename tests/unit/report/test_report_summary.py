"""The summary is written from evaluations, point by point."""

import csv
from pathlib import Path

import pytest
from obtransfer.artifacts import write_table
from obtransfer.dag.grid import Point
from obtransfer.errors import ObtransferError
from obtransfer.report.summary import COLUMNS, write_summary

POINT = Point("mini.dino", "upper", "obd", "global", "0.7", 0, "pruned", "keep")
OTHER = Point("mini.dino", "lower", "obd", "global", "0.7", 0, "pruned", "keep")


def evaluation(path: Path, *tasks: str) -> Path:
    rows = [
        {"task": task, "head": head, "accuracy": 0.5, "loss": 0.1, "num_test": 50, "num_classes": 10, "fit_split": "train"}
        for task in tasks
        for head in ("zero_shot", "probe")
    ]  # fmt: skip
    write_table(path, rows, kind="evaluation", metadata={"density": 0.3, "collapsed_layers": 1})
    return path


def test_every_point_has_its_tasks_once_in_the_order_of_the_evaluations(tmp_path: Path) -> None:
    one, two = (
        evaluation(tmp_path / "one.csv", "upper", "lower"),
        evaluation(tmp_path / "two.csv", "lower", "digits"),
    )
    write_summary(tmp_path / "summary.csv", [(POINT, one), (POINT, two), (OTHER, one)])
    with open(tmp_path / "summary.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(COLUMNS)
    found = [(row["source"], row["task"], row["is_source"]) for row in rows if row["head"] == "probe"]
    assert found == [
        ("upper", "upper", "True"), ("upper", "lower", "False"), ("upper", "digits", "False"),
        ("lower", "upper", "False"), ("lower", "lower", "True"),
    ]  # fmt: skip
    assert len(rows) == 10
    assert {
        (row["architecture"], row["sparsity"], row["density"], row["collapsed_layers"]) for row in rows
    } == {("mini", "0.7", "0.3", "1")}


def test_a_missing_evaluation_leaves_no_summary(tmp_path: Path) -> None:
    with pytest.raises(ObtransferError, match=r"none\.csv .*does not exist"):
        write_summary(tmp_path / "summary.csv", [(POINT, tmp_path / "none.csv")])
    assert not list(tmp_path.iterdir())
