"""Heads fitted on what they are scored on are labelled wherever their accuracies are; chance follows the classes."""

from pathlib import Path

import pandas as pd
import pytest
from compare_criteria import compare_criteria
from obtransfer.registry import FIGURES
from obtransfer.report.accuracy_table import accuracy_table
from obtransfer.report.aggregate import source_accuracy
from obtransfer.report.closing_text import closing_text
from obtransfer.report.figures import base
from obtransfer.report.summary import FITTED_ON_TEST, prepare


@pytest.mark.parametrize("fit_split", ["train", "test"])
def test_the_protocol_is_in_the_text_the_figures_and_the_criteria(
    make_summary, fit_split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = fit_split == "test"
    small = {"criteria": ("obd", "obs"), "sparsities": (0.5,), "tasks": ("upper", "lower")}
    summary = make_summary(["mini.dino"], fit_split=fit_split, **small)
    summary.to_csv(tmp_path / "summary.csv", index=False)
    assert (FITTED_ON_TEST in closing_text(prepare(summary))) == labelled

    compare_criteria(tmp_path / "summary.csv", tmp_path / "criteria.csv", tmp_path / "criteria.md")
    assert (FITTED_ON_TEST in (tmp_path / "criteria.md").read_text()) == labelled
    assert set(pd.read_csv(tmp_path / "criteria.csv")["fit_split"]) == {fit_split}

    titles: dict[str, str] = {}
    monkeypatch.setattr(
        base, "save", lambda figure, _, name: titles.update({name: figure.get_suptitle()}) or []
    )
    base.draw_all(tmp_path / "summary.csv", tmp_path)
    assert set(titles) == set(FIGURES)
    for name, title in titles.items():
        said = " ".join(title.split()).endswith(FITTED_ON_TEST)
        assert said == (labelled and name != "accuracy_probe"), name


def test_chance_is_that_of_each_role(make_summary) -> None:
    rows = make_summary(["mini.dino"], tasks=("upper", "lower", "digits"), sources=("upper",))
    rows.loc[rows["task"] == "upper", "num_classes"] = 4
    rows.loc[rows["task"] == "lower", "num_classes"] = 5
    figure = FIGURES["accuracy_zero_shot"].finish(prepare(rows))
    levels = [
        next(line.get_ydata()[0] for line in axes.get_lines() if line.get_label() == "chance")
        for axes in figure.axes
    ]
    assert levels == pytest.approx([(20 + 10) / 2, 25])
    assert "chance (15 % / 25 %)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_one_task_alone_gives_its_own_curve(make_summary) -> None:
    rows = prepare(make_summary(["mini.dino"], criteria=("obs",), sparsities=(0.5,), tasks=("upper",)))
    table = accuracy_table(rows, source_accuracy)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert cells[2] == ["mini.dino", "obs", "90.0 → 95.0", "85.4 → 90.4"]
    assert table in closing_text(rows)
    dense = rows[rows["criterion"] == "dense"]
    assert "no pruned model" in closing_text(dense)
