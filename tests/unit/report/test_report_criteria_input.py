"""The table of criteria, of summaries that are empty, damaged or too small."""

from pathlib import Path

import pandas as pd
import pytest
from compare_criteria import compare_criteria
from obtransfer.errors import ObtransferError
from obtransfer.report.criteria_page import criteria_page
from obtransfer.report.criteria_table import COLUMNS, criteria_table
from obtransfer.report.summary import prepare


def test_nothing_to_compare_is_said(make_summary) -> None:
    dense = criteria_table(prepare(make_summary(criteria=())))
    assert (len(dense), tuple(dense.columns)) == (0, COLUMNS)
    assert "Nothing to compare" in criteria_page(dense)
    one_task = criteria_table(prepare(make_summary(["mini.dino"], tasks=("upper",))))
    assert one_task["source_accuracy"].notna().all() and one_task["transfer_accuracy"].isna().all()
    assert "Nothing to compare" in criteria_page(one_task)


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan")])
def test_accuracies_outside_their_range_are_refused(make_summary, bad: float) -> None:
    summary = prepare(make_summary(["mini.dino"]))
    summary.loc[summary.index == summary.index[summary["head"] == "zero_shot"][3], "accuracy"] = bad
    with pytest.raises(ObtransferError, match=r"must lie in \[0, 1\]; 1 rows.*source upper.*remake"):
        criteria_table(summary)


def test_repeated_rows_are_refused(make_summary) -> None:
    summary = make_summary(["mini.dino"])
    twice = prepare(pd.concat([summary, summary[summary["task"] == "digits"].iloc[:1]], ignore_index=True))
    with pytest.raises(ObtransferError, match=r"may appear once; 1 rows .* repeated.*task digits"):
        criteria_table(twice)


def test_nothing_is_written_of_a_bad_summary(make_summary, tmp_path: Path) -> None:
    make_summary(["mini.dino"]).assign(accuracy=2.0).to_csv(tmp_path / "summary.csv", index=False)
    with pytest.raises(ObtransferError, match="must lie in"):
        compare_criteria(tmp_path / "summary.csv", tmp_path / "criteria.csv", tmp_path / "criteria.md")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]
