"""The points of a grid, and what their models and scores depend on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from obtransfer.dag.grid import Point, chosen_damping, estimator, model, points, scored_label, scoring
from obtransfer.settings import Configuration

GRID = {
    "backbones": ["miniresnet.supervised", "minivit.dino"],
    "sources": ["upper", "greek"],
    "criteria": ["magnitude", "obs"],
    "allocations": ["global"],
    "sparsities": [0.5, 0.90],
    "batchnorm": ["keep", "recalibrate"],
    "seeds": [0, 1],
    "finetune": ["keep"],
}


Complete = Callable[..., Configuration]


def test_points_are_the_grid_and_its_controls_once(complete: Complete) -> None:
    found = list(points(complete(grid=GRID)))
    assert len(set(found)) == len(found)
    # per source and seed: (2 criteria x 2 sparsities + dense), pruned and fine-tuned, and recalibrated with BatchNorm
    assert len(found) == 2 * 2 * (2 * 2 + 1) * (2 + 1 + 2)
    assert Point("minivit.dino", "greek", "dense", "", "0", 1, "finetuned", "keep") in found
    assert {p.batchnorm for p in found if p.backbone == "minivit.dino"} == {"keep"}


def test_without_fine_tuning_there_is_none(complete: Complete) -> None:
    config = complete(grid=GRID | {"finetune": []})
    assert {point.stage for point in points(config)} == {"dense", "pruned"}


@pytest.mark.parametrize(
    "label, expected",
    [
        ("magnitude", "magnitude"),
        ("random", "random/seed_3"),
        ("synflow", "synflow"),
        ("snip", "snip/upper/seed_3"),
        ("obs_fine", "obs_fine/upper/seed_3"),
    ],
)
def test_a_scoring_names_what_it_depends_on(every: Configuration, label: str, expected: str) -> None:
    assert str(scoring(every.criteria[label], label, "upper", 3)) == expected


def test_paths_of_evaluations(complete: Complete) -> None:
    config = complete(grid=GRID)

    def path(stage: str, batchnorm: str, criterion: str = "obs") -> str:
        point = Point("minivit.dino", "upper", criterion, "global", "0.5", 1, stage, batchnorm)
        return model(config, point).evaluation("all")

    pruned = "evaluations/minivit.dino/obs/upper/seed_1/global/sparsity_0.5"
    assert path("pruned", "keep") == f"{pruned}/keep/all.csv"
    assert path("pruned", "recalibrate") == f"{pruned}/recalibrate_upper/all.csv"
    assert path("finetuned", "keep") == f"{pruned}/keep/on_upper/seed_1/all.csv"
    assert path("dense", "keep", "dense") == "evaluations/minivit.dino/dense/keep/all.csv"
    assert path("finetuned", "keep", "dense") == "evaluations/minivit.dino/dense/keep/on_upper/seed_1/all.csv"


def test_labels_that_differ_after_the_scores_share_them(every: Configuration) -> None:
    labels = ("obs", "obs_updated", "obs_fine", "synflow", "snip")
    assert [scored_label(every, label) for label in labels] == ["obs", "obs", "obs_fine", "synflow", "snip"]
    assert chosen_damping(every) == ["obs"]


def test_an_estimator_is_the_criterions_own_or_the_configured_one(every: Configuration) -> None:
    assert estimator(every.criteria["snip"]) == "gradient"
    assert estimator(every.criteria["obs"]) == "ggn"
