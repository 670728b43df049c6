"""Weights that look random are reported at the top of the closing text."""

from obtransfer.report.closing_text import closing_text
from obtransfer.report.summary import prepare


def test_a_dense_head_near_chance_on_the_source_is_reported_first(make_summary) -> None:
    rows = make_summary()
    assert "WARNING" not in closing_text(prepare(rows))
    first = (rows["architecture"] + "." + rows["pretraining"]).iloc[0]
    architecture, pretraining = first.split(".")
    chosen = (rows["architecture"] == architecture) & (rows["pretraining"] == pretraining)
    dense = (rows["criterion"] == "dense") & (rows["stage"] == "dense")
    rows.loc[chosen & dense & rows["is_source"], "accuracy"] = 0.11
    lines = closing_text(prepare(rows)).splitlines()
    assert set(lines[0]) == {"!"}
    assert lines[1] == "WARNING: unpruned backbones near chance on their source:"
    assert first in lines[2] and "11.0 %" in lines[2] and "the features look random" in lines[2]
    assert sum("look random" in line for line in lines) == 1


def test_pruned_models_near_chance_are_no_reason_for_doubt(make_summary) -> None:
    rows = make_summary()
    rows.loc[rows["criterion"] != "dense", "accuracy"] = 0.1
    assert "WARNING" not in closing_text(prepare(rows))
