"""Aggregation, against numbers worked by hand."""

import io
from pathlib import Path

import pandas as pd
import pytest
from obtransfer.errors import ObtransferError
from obtransfer.report.aggregate import (
    fine_tuning_change,
    source_accuracy,
    task_accuracy,
    transfer_accuracy,
    transfer_by_run,
)
from obtransfer.report.summary import COLUMNS, percent, prepare, read_summary, series_order, sparsities

HEADER = ",".join(COLUMNS)


def row(source: str, seed: str, task: str, accuracy: float, stage: str = "pruned") -> str:
    return f"mini,dino,{source},obd,global,0.7,{seed},{stage},keep,{task},{task == source},zero_shot,{accuracy},0.1,50,0.3"


# Two sources, two seeds of the first, three tasks.
ROWS = [
    row("a", "0", "a", 0.9), row("a", "0", "b", 0.6), row("a", "0", "c", 0.8),
    row("a", "1", "a", 0.7), row("a", "1", "b", 0.4), row("a", "1", "c", 0.2),
    row("b", "0", "a", 0.5), row("b", "0", "b", 1.0), row("b", "0", "c", 0.5),
]  # fmt: skip


def summary(rows: list[str]) -> pd.DataFrame:
    return prepare(pd.read_csv(io.StringIO("\n".join([HEADER, *rows]))))


def test_transfer_accuracy_averages_tasks_then_runs() -> None:
    runs = transfer_by_run(summary(ROWS))
    assert runs["accuracy"].tolist() == pytest.approx([0.7, 0.3, 0.5])
    assert runs["num_tasks"].tolist() == [2, 2, 2]
    (result,) = transfer_accuracy(summary(ROWS)).to_dict("records")
    assert result["mean"] == pytest.approx(0.5)
    assert (result["num_runs"], result["num_tasks"]) == (3, 3)


def test_spread_is_over_the_means_of_unseen_tasks() -> None:
    (result,) = transfer_accuracy(summary(ROWS)).to_dict("records")
    # a: 0.5; b: mean(0.6, 0.4) = 0.5; c: mean(0.8, 0.2, 0.5) = 0.5
    assert result["std"] == pytest.approx(0.0, abs=1e-12)
    (result,) = transfer_accuracy(summary(ROWS[:3])).to_dict("records")
    assert result["std"] == pytest.approx(0.1 * 2**0.5)
    assert [result[k] for k in ("minimum", "lower", "upper", "maximum")] == pytest.approx(
        [0.6, 0.65, 0.75, 0.8]
    )


def test_source_accuracy_uses_the_source_task_only() -> None:
    (result,) = source_accuracy(summary(ROWS)).to_dict("records")
    assert result["mean"] == pytest.approx((0.9 + 0.7 + 1.0) / 3)


def test_a_task_that_is_source_and_unseen_is_reported_in_both_roles() -> None:
    tasks = task_accuracy(summary(ROWS)).set_index(["task", "is_source"])["accuracy"]
    assert tasks[("a", True)] == pytest.approx(0.8)
    assert tasks[("a", False)] == pytest.approx(0.5)


def test_fine_tuning_change_is_after_minus_before_and_needs_both() -> None:
    rows = [*ROWS[:3], row("a", "0", "a", 0.95, "finetuned"), row("a", "0", "b", 0.5, "finetuned")]
    change = fine_tuning_change(task_accuracy(summary(rows))).set_index("task")["accuracy"]
    assert change.to_dict() == pytest.approx({"a": 0.05, "b": -0.1})


def test_empty_seed_and_allocation_survive_grouping() -> None:
    rows = [row("a", "", "a", 0.9).replace("global", ""), row("a", "", "b", 0.4).replace("global", "")]
    assert transfer_accuracy(summary(rows))["mean"].tolist() == [0.4]


def test_allocations_become_series_only_when_compared(make_summary) -> None:
    assert series_order(prepare(make_summary())) == ["magnitude", "obd", "obs", "random"]
    both = prepare(make_summary(criteria=("obs", "kfac"), allocations=("global", "uniform")))
    assert series_order(both) == ["obs, global", "obs, uniform", "kfac, global", "kfac, uniform"]


def test_preparing_twice_changes_nothing(make_summary) -> None:
    once = prepare(make_summary())
    pd.testing.assert_frame_equal(prepare(once), once)


def test_percent_and_sparsities(make_summary) -> None:
    assert [percent(q) for q in (0.0, 0.07, 0.7, 0.985)] == ["0", "7", "70", "98.5"]
    assert sparsities(prepare(make_summary())) == [0.5, 0.7, 0.9]


def test_reading_skips_a_card_and_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text("# {}\n" + "\n".join([HEADER, *ROWS]))
    assert len(read_summary(path)) == len(ROWS)
    path.write_text("task,accuracy\na,1\n")
    with pytest.raises(ObtransferError, match=r"missing: architecture, .*density"):
        read_summary(path)
    path.write_text(HEADER + "\n")
    with pytest.raises(ObtransferError, match="nothing was evaluated"):
        read_summary(path)
    with pytest.raises(ObtransferError, match="does not exist"):
        read_summary(tmp_path / "none.csv")
