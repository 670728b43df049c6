"""The closing text and its table."""

import pandas as pd
import pytest
from obtransfer.report import closing_text as module
from obtransfer.report.accuracy_table import accuracy_table
from obtransfer.report.aggregate import transfer_accuracy
from obtransfer.report.best_criteria import best_criteria, pruning_change, tuning_change
from obtransfer.report.summary import prepare


def closing_text(rows: pd.DataFrame, **options: str) -> str:
    return module.closing_text(prepare(rows), **options)


def transfer_table(rows: pd.DataFrame) -> str:
    return accuracy_table(prepare(rows), transfer_accuracy)


def test_text_names_the_best_criterion_and_its_lead(make_summary) -> None:
    text = closing_text(make_summary(), folder="out")
    assert "70 % pruned      obs" in text
    assert "points over obd" in text
    assert "out/summary.csv" in text
    swapped = make_summary().replace({"criterion": {"obs": "obd", "obd": "obs"}})
    assert "70 % pruned      obd" in closing_text(swapped)


def test_a_lead_within_the_standard_error_is_said_to_be_none(make_summary) -> None:
    rows = make_summary(["mini.dino"], criteria=("obd", "obs"), sparsities=(0.5,), stages=("pruned",))
    obs = (rows["criterion"] == "obs") & (rows["head"] == "zero_shot")
    obd = (rows["criterion"] == "obd") & (rows["head"] == "zero_shot")
    for task, lead in {"lower": 0.1, "digits": -0.1, "hebrew": 0.03}.items():
        base = rows.loc[obd & (rows["task"] == task), "accuracy"].to_numpy()
        rows.loc[obs & (rows["task"] == task), "accuracy"] = base + lead
    (best,) = best_criteria(prepare(rows))
    assert best.series == "obs"
    assert best.difference == pytest.approx(0.01)
    assert best.error == pytest.approx(pd.Series([0.1, -0.1, 0.03]).std() / 3**0.5)
    assert "no clear best" in closing_text(rows)
    assert "no clear best" not in closing_text(make_summary())


def test_best_is_the_mean_over_unseen_tasks_of_the_frozen_head(make_summary) -> None:
    rows = make_summary(["mini.dino"], sparsities=(0.5,), stages=("pruned",))
    magnitude = rows["criterion"] == "magnitude"
    elsewhere = rows["is_source"] | (rows["head"] == "probe") | (rows["batchnorm"] == "recalibrate")
    rows.loc[magnitude & elsewhere, "accuracy"] = 1.0
    (best,) = best_criteria(prepare(rows))
    assert best.series == "obs"
    assert best.accuracy == pytest.approx(0.9**0.5 * (0.88 + 0.86 + 0.84) / 3)


def test_changes_are_paired_and_signed(make_summary) -> None:
    summary = prepare(make_summary(sparsities=(0.7,)))
    best = best_criteria(summary)[0]
    pruned, tuned, control = (
        pruning_change(summary, best),
        tuning_change(summary, best),
        tuning_change(summary, None),
    )
    assert pruned and tuned and control
    assert pruned.unseen_before == pytest.approx(0.86)
    assert pruned.unseen_after == pytest.approx(0.86 * 0.9**0.7)
    assert tuned.unseen_after - tuned.unseen_before == pytest.approx(0.01)
    assert tuned.source_after - tuned.source_before == pytest.approx(0.05)
    assert (tuned.num_gained, tuned.num_tasks) == (3, 3)
    assert control.source_after - control.source_before == pytest.approx(0.05)


def test_observations_give_signed_points(make_summary) -> None:
    text = " ".join(closing_text(make_summary(sparsities=(0.7,))).split())
    assert "P1, pruning alone: 70 % −6.1 / −6.4." in text
    assert "70 % +1.0 / +5.0 (3 of 3), unpruned +1.0 / +5.0 (3 of 3)" in text


def test_the_text_fits_a_screen(make_summary) -> None:
    backbones = [f"{a}.{p}" for a in ("miniresnet", "minivit") for p in ("supervised", "mocov2", "dino")]
    text = closing_text(make_summary(backbones))
    assert text.count("\n") <= 41
    assert max(map(len, text.splitlines())) <= 110
    many = closing_text(make_summary(backbones, criteria=[f"criterion{i}" for i in range(5)]))
    assert "mean of all" in many
    assert many.count("\n") <= 41


def test_table_gives_both_stages_in_per_cent(make_summary) -> None:
    lines = transfer_table(make_summary(["mini.dino"], criteria=("obs",), sparsities=(0.5,))).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "backbone",
        "criterion",
        "dense",
        "50 %",
    ]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "mini.dino",
        "obs",
        "86.0 → 87.0",
        "81.6 → 82.6",
    ]
    assert len({len(line) for line in lines}) == 1


def test_table_without_fine_tuning_and_with_holes(make_summary) -> None:
    rows = make_summary(["mini.dino"], criteria=("obd", "obs"), sparsities=(0.5,), stages=("pruned",))
    table = transfer_table(rows[(rows["criterion"] != "obd") | rows["is_source"]])
    assert "→" not in table
    assert "| obd       |  86.0 |    – |" in table


def test_one_task_is_no_transfer_and_one_unseen_task_has_no_error(make_summary) -> None:
    assert "no unseen task" in closing_text(make_summary(tasks=("upper",)))
    assert "one task, so no standard error" in closing_text(make_summary(tasks=("upper", "lower")))
    assert "only criterion" in closing_text(make_summary(criteria=("obd",)))


def test_layer_collapse_is_reported_with_its_extent(make_summary) -> None:
    rows = make_summary(["mini.dino", "mini.supervised"], sources=("upper", "lower"))
    assert "collapse" not in closing_text(rows)
    chosen = (rows["criterion"] == "magnitude") & (rows["sparsity"] == 0.9)
    rows.loc[chosen & (rows["pretraining"] == "dino"), "collapsed_layers"] = 3
    rows.loc[chosen & (rows["source"] == "lower"), "collapsed_layers"] = 1
    text = " ".join(closing_text(rows).split())
    assert (
        "Layer collapse (all weights of a layer removed): magnitude at 90 % (3 models, up to 3 layers)."
        in text
    )
