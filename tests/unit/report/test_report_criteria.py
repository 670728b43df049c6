"""The table of criteria: constructed cases with known answers, gaps, few sources, ties, and the words about them."""

import random
import re
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from compare_criteria import compare_criteria
from obtransfer.report.aggregate import source_accuracy, transfer_accuracy
from obtransfer.report.criteria_page import criteria_page
from obtransfer.report.criteria_table import COLUMNS, criteria_table
from obtransfer.report.summary import DENSE, prepare

TASKS = tuple("abcdefgh")
INTERVALS = [f"{name}_{end}" for name in ("source", "transfer", "lead") for end in ("low", "high")]
Accuracy = Callable[[str, str, int, str], float]


def make(
    accuracy: Accuracy,
    criteria: Sequence[str] = ("obd", "obs"),
    *,
    sources: Sequence[str] = TASKS[:4],
    seeds: Sequence[int] = (0, 1),
    tasks: Sequence[str] = TASKS,
    sparsities: Sequence[float] = (0.7,),
    stages: Sequence[str] = ("pruned",),
    backbones: Sequence[str] = ("mini.dino",),
    allocation: str = "global",
    **columns: str,
) -> pd.DataFrame:
    """Prepared rows; `accuracy` of (criterion, source, seed, task), also of the criterion "dense"."""
    models = [(c, allocation, q, stage) for c, q, stage in product(criteria, sparsities, stages)]
    models += [(DENSE, "", 0.0, DENSE if stage == "pruned" else stage) for stage in stages]
    rows = []
    for backbone, source, seed, task in product(backbones, sources, seeds, tasks):
        architecture, pretraining = backbone.split(".")
        rows += [
            {
                "architecture": architecture, "pretraining": pretraining, "source": source, "criterion": criterion,
                "allocation": spread, "sparsity": sparsity, "seed": seed, "stage": stage, "batchnorm": "keep",
                "task": task, "is_source": task == source, "head": "zero_shot", "loss": 0.1, "num_test": 100,
                "accuracy": accuracy(criterion, source, seed, task), "density": 1 - sparsity, "collapsed_layers": 0,
                "num_classes": 10, "fit_split": "train", **columns,
            }
            for criterion, spread, sparsity, stage in models
        ]  # fmt: skip
    return prepare(pd.DataFrame(rows))


def noise(seed: int = 0) -> Accuracy:
    """Independent, between 0.4 and 0.6; the same for the same model and task."""
    return cache(lambda *place: random.Random(f"{seed} {place}").uniform(0.4, 0.6))


def lead_of(gain: float, base: Accuracy, criterion: str = "obs") -> Accuracy:
    """`base` of everybody for all criteria, and `gain` more for one."""
    return lambda c, s, e, t: base("all", s, e, t) + (gain if c == criterion else 0.0)


def by_criterion(summary: pd.DataFrame) -> dict[str, dict]:
    return criteria_table(summary).set_index("criterion").to_dict("index")


def test_a_constant_lead_is_certain() -> None:
    rows = by_criterion(make(lead_of(0.05, noise())))
    assert (rows["obs"]["lead_over"], rows["obd"]["lead_over"]) == ("obd", "obs")
    assert [rows["obs"][name] for name in ("lead", "lead_low", "lead_high")] == [0.05, 0.05, 0.05]
    assert [rows["obd"][name] for name in ("lead", "lead_low", "lead_high")] == [-0.05, -0.05, -0.05]
    assert (rows["obs"]["probability_best"], rows["obd"]["probability_best"]) == (1.0, 0.0)
    assert rows["obs"]["transfer_low"] < rows["obs"]["transfer_accuracy"] < rows["obs"]["transfer_high"]


def test_noise_alone_is_no_lead() -> None:
    """Of 24 tables of equal criteria few leads seem clear: 1 in 20 would, with 4 sources up to 1 in 5 (`COVERAGE`)."""
    clear, shares = 0, []
    for seed in range(24):
        rows = by_criterion(make(noise(seed), seeds=(0,)))
        low, high = sorted((rows["obs"]["lead_low"], rows["obs"]["lead_high"]))
        clear += not low <= 0 <= high
        shares.append(rows["obs"]["probability_best"])
        assert rows["obs"]["probability_best"] + rows["obd"]["probability_best"] == pytest.approx(1)
    assert clear <= 5
    assert 0.3 < fmean(shares) < 0.7


def test_means_are_those_of_the_other_tables() -> None:
    summary = make(noise(1), ("magnitude", "obd", "obs"))
    table = criteria_table(summary)
    for name, mean in (("transfer", transfer_accuracy(summary)), ("source", source_accuracy(summary))):
        expected = mean[mean["criterion"] != DENSE].set_index("criterion")["mean"]
        assert table[f"{name}_accuracy"].tolist() == pytest.approx(expected[table["criterion"]], abs=1e-6)
        dense = mean.loc[mean["criterion"] == DENSE, "mean"].item()
        assert table[f"dense_{name}_accuracy"].tolist() == pytest.approx([dense] * 3, abs=1e-6)
    assert tuple(table.columns) == COLUMNS
    for name, size in (("sources", 4), ("seeds", 2), ("tasks", 8)):
        assert set(table[f"num_{name}"]) == {size}


def test_the_sources_own_rows_never_enter_transfer() -> None:
    summary = make(noise(2))
    before = by_criterion(summary)["obd"]
    summary.loc[summary["is_source"] & (summary["criterion"] == "obd"), "accuracy"] = 1.0
    after = by_criterion(summary)["obd"]
    assert after["source_accuracy"] == after["source_low"] == after["source_high"] == 1.0
    changed = {name for name, value in after.items() if before[name] != value}
    assert changed == {"source_accuracy", "source_low", "source_high"}


def test_criteria_are_compared_on_what_all_of_them_have() -> None:
    """`obs` lacks source b, seed 1 of source a, and task h; elsewhere `obd` is made to look bad."""

    def accuracy(criterion: str, source: str, seed: int, task: str) -> float:
        alike = source != "b" and (source, seed) != ("a", 1) and task != "h"
        return {"obs": 0.6, "obd": 0.7 if alike else 0.0}.get(criterion, 0.9)

    summary = make(accuracy)
    lost = summary.eval("source == 'b' or (source == 'a' and seed == 1) or task == 'h'")
    rows = by_criterion(summary[~(lost & (summary["criterion"] == "obs"))])
    assert (rows["obd"]["transfer_accuracy"], rows["obd"]["source_accuracy"]) == (0.7, 0.7)
    assert rows["obd"]["lead_low"] == pytest.approx(0.1)
    assert [rows["obd"][f"num_{name}"] for name in ("sources", "seeds", "tasks")] == [3, 2, 7]
    gap = summary.eval("criterion == 'dense' and source == 'c' and task == 'a'")
    assert rows["obd"]["dense_transfer_accuracy"] == 0.9
    assert np.isnan(by_criterion(summary[~(lost | gap)])["obd"]["dense_transfer_accuracy"])


def test_criteria_that_share_nothing_are_not_compared() -> None:
    summary = make(noise(), backbones=("mini.dino", "mini.supervised"))
    elsewhere = summary["source"].isin(["a", "b"]) == (summary["criterion"] == "obs")
    apart = (summary["backbone"] == "mini.dino") & (summary["criterion"] != DENSE) & elsewhere
    table = criteria_table(summary[~apart])
    mini = table[table["pretraining"] == "dino"].set_index("criterion")
    assert (
        mini.loc[["obd", "obs"], ["transfer_accuracy", "source_accuracy", "lead", *INTERVALS]]
        .isna()
        .all(axis=None)
    )
    assert mini[["num_sources", "num_tasks"]].eq(0).all(axis=None)
    text = criteria_page(table)
    assert "mini.dino" not in text.split("Not compared")[0]
    assert "because no source, seed and task is shared by all criteria: mini.dino at 70 %." in text


def test_a_criterion_that_one_backbone_lacks_is_left_out_there_only() -> None:
    summary = make(lead_of(0.05, noise(), "px"), ("obd", "px"), backbones=("mini.dino", "vit.dino"))
    table = criteria_table(summary.query("architecture != 'vit' or criterion != 'px'"))
    assert table[["architecture", "criterion", "lead_over"]].to_numpy().tolist() == [
        ["mini", "obd", "px"], ["mini", "px", "obd"], ["vit", "obd", ""],
    ]  # fmt: skip
    alone = table.iloc[2]
    assert alone[["lead", "lead_low", "lead_high", "probability_best"]].isna().all()
    assert alone[["transfer_low", "source_low"]].notna().all()
    text = criteria_page(table)
    assert "* 70 %: `px` is best on mini.dino (5.0 points over `obd`, 95 % interval 5.0 to 5.0); " in text
    assert "only one criterion on vit.dino." in text


@pytest.mark.parametrize("sizes", [{"sources": ("a",)}, {"sources": ("a", "b"), "tasks": ("a", "b")}])
def test_few_sources_or_tasks_give_no_interval(sizes: dict) -> None:
    table = criteria_table(make(lead_of(0.05, noise()), **sizes))
    assert table[[*INTERVALS, "probability_best"]].isna().all(axis=None)
    assert table["lead"].tolist() == [-0.05, 0.05]
    text = criteria_page(table)
    assert "**No interval is given:** it needs at least 2 sources and 3 unseen tasks." in text
    assert "nothing can be said, on mini.dino (`obs` 5.0 points over `obd`)" in text
    assert "±" not in text and text.count("**") == 2


def test_one_seed_is_said_and_seeds_widen_the_interval() -> None:
    """Without differences between sources and tasks all noise is of seeds: none is seen with one seed."""

    def accuracy(criterion: str, source: str, seed: int, task: str) -> float:
        return 0.5 + (0.1 * seed if criterion == "obs" else 0.0)

    one, three = make(accuracy, seeds=(1,)), make(accuracy, seeds=(0, 1, 2))
    assert by_criterion(one)["obs"]["lead_low"] == by_criterion(one)["obs"]["lead_high"] == 0.1
    assert "the noise of seeds is in no interval" in criteria_page(criteria_table(one))
    row = by_criterion(three)["obs"]
    # The mean of three draws from {0, 1, 2}: below 1/3 in 1 of 27 cases (all 0), so 2.5 % is at 0.
    assert (row["lead"], row["lead_low"], row["lead_high"]) == (0.1, 0.0, 0.2)
    assert "the noise of seeds is in no interval" not in criteria_page(criteria_table(three))


def test_criteria_that_read_no_data() -> None:
    """The same mask for every source: a source draws nothing but which task is left out of the mean."""
    levels = dict(zip(TASKS, np.linspace(0.2, 0.9, 8).round(2), strict=True))
    table = criteria_table(make(lambda c, s, e, t: levels[t], ("magnitude",), sources=TASKS))
    (row,) = table.to_dict("records")
    assert row["transfer_accuracy"] == row["source_accuracy"] == pytest.approx(fmean(levels.values()))
    for end in ("low", "high"):
        assert row[f"source_{end}"] == pytest.approx(row[f"transfer_{end}"], abs=0.03)
    assert row["lead_over"] == ""


def test_ties_have_no_best() -> None:
    table = criteria_table(make(lead_of(0.0, noise()), ("magnitude", "obd", "obs")))
    assert table["lead_over"].tolist() == ["obd", "magnitude", "magnitude"]
    assert table[["lead", "lead_low", "lead_high"]].eq(0).all(axis=None)
    assert table["probability_best"].tolist() == pytest.approx([1 / 3] * 3, abs=1e-6)
    text = criteria_page(table)
    assert (
        "no clear best on mini.dino (`magnitude` 0.00 points over `obd`, 95 % interval 0.00 to 0.00" in text
    )
    assert "within reach too: `obs`" in text


def test_the_rest_of_the_run_is_in_the_table_only() -> None:
    clear = lead_of(0.05, noise())
    parts = [
        make(clear, stages=("pruned", "finetuned"), sparsities=(0.5, 0.9)),
        make(lead_of(0.2, noise()), batchnorm="recalibrate", sparsities=(0.5,)),
        make(lambda *_: 1.0, head="probe"),
    ]
    table = criteria_table(prepare(pd.concat(parts, ignore_index=True)))
    keys = table[["batchnorm", "stage", "sparsity"]].drop_duplicates().to_numpy().tolist()
    assert keys == [
        ["keep", "pruned", 0.5], ["keep", "pruned", 0.9], ["keep", "finetuned", 0.5], ["keep", "finetuned", 0.9],
        ["recalibrate", "pruned", 0.5],
    ]  # fmt: skip
    assert table.loc[table["batchnorm"] == "recalibrate", "lead"].abs().tolist() == [0.2, 0.2]
    text = criteria_page(table)
    assert text.count("5.0 points over `obd`") == 4
    assert "20.0 points" not in text
    assert text.index("## Pruned\n") < text.index("## Pruned, then fine-tuned on the source\n")


def test_allocations_are_compared_within_themselves() -> None:
    gains = {"global": 0.05, "uniform": -0.05}
    parts = [make(lead_of(gain, noise()), allocation=name) for name, gain in gains.items()]
    summary = prepare(pd.concat(parts, ignore_index=True).drop_duplicates())
    text = criteria_page(criteria_table(summary))
    for best, place in (("obs", "global"), ("obd", "uniform")):
        assert f"`{best}` is best on mini.dino, {place} (5.0 points" in text
    assert "| obs, uniform |" in text


def test_page_of_a_small_run(tmp_path: Path) -> None:
    base = lead_of(0.05, lambda c, s, e, t: 0.5)
    summary, text = tmp_path / "summary.csv", tmp_path / "page" / "criteria.md"
    make(lambda c, s, e, t: 0.9 if c == DENSE else base(c, s, e, t)).to_csv(summary, index=False)
    compare_criteria(summary, tmp_path / "criteria.csv", text)
    lines = text.read_text().splitlines()
    assert lines[lines.index("## Pruned") + 2 :] == [
        "| backbone  | criterion |                        70 % |",
        "| --------- | --------- | --------------------------: |",
        "| mini.dino | *dense*   |                 90.0 / 90.0 |",
        "| mini.dino | obd       |     50.0 ± 0.0 / 50.0 ± 0.0 |",
        "| mini.dino | obs       | 55.0 ± 0.0 / **55.0 ± 0.0** |",
        "",
        "Clearly best in 1 of 1 cell (backbone and sparsity): `obs` 1.",
        "",
        "* 70 %: `obs` is best on mini.dino (5.0 points over `obd`, 95 % interval 5.0 to 5.0).",
    ]
    introduction = " ".join(lines[: lines.index("## Pruned")])
    assert "4 sources, 2 seeds, 8 unseen tasks" in introduction
    assert "With 4 sources such an interval holds the truth in about 85 to 92 %" in introduction
    table = pd.read_csv(tmp_path / "criteria.csv")
    assert table["transfer_accuracy"].tolist() == [0.5, 0.55]


def test_equal_rows_in_any_order_give_equal_files(tmp_path: Path) -> None:
    summary = make(noise(4), ("random", "magnitude", "obs_block64", "obs"), sparsities=(0.5, 0.9))
    for name, rows in (("one", summary), ("two", summary.sample(frac=1, random_state=1))):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        compare_criteria(tmp_path / f"{name}.csv", tmp_path / name / "t.csv", tmp_path / name / "t.md")
    assert (tmp_path / "one/t.csv").read_bytes() == (tmp_path / "two/t.csv").read_bytes()
    assert (tmp_path / "one/t.md").read_bytes() == (tmp_path / "two/t.md").read_bytes()
    assert pd.read_csv(tmp_path / "one/t.csv")["criterion"].tolist() == 2 * [
        "magnitude",
        "obs",
        "obs_block64",
        "random",
    ]
    assert not re.search(r"(^|,)-0\.0(,|$)", (tmp_path / "one" / "t.csv").read_text(), re.MULTILINE)


@pytest.mark.slow
def test_three_thousand_models_take_seconds() -> None:
    criteria = ("magnitude", "obd", "obs", "kfac_obs", "snip", "grasp", "synflow", "px", "random")
    summary = make(
        noise(), criteria, sources=TASKS[:3], seeds=(0, 1, 2), tasks=[f"t{i}" for i in range(10)] + list(TASKS[:3]),
        sparsities=(0.5, 0.7, 0.8, 0.9, 0.95, 0.98), backbones=[f"mini.p{i}" for i in range(6)],
    )  # fmt: skip
    start = time.process_time()
    assert len(criteria_table(summary)) == 6 * 6 * 9
    assert time.process_time() - start < 5
