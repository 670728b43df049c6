from typing import Any

import pytest
from obtransfer.grid import Point, decimal, evaluation, points, scoring, structure

CONFIG: dict[str, Any] = {
    "grid": {
        "backbones": ["miniresnet.supervised", "minivit.dino"],
        "sources": ["upper", "greek"],
        "criteria": ["magnitude", "obs_fine"],
        "allocations": ["global"],
        "sparsities": [0.5, 0.90],
        "batchnorm": ["keep", "recalibrate"],
        "seeds": [0, 1],
        "finetune": ["keep"],
    },
    "criteria": {"obs_fine": {"criterion": "obs", "estimator": "ggn", "block_size": 4, "damping": 0.1}},
}


def test_points_are_the_grid_and_its_controls_once() -> None:
    found = list(points(CONFIG))
    assert len(set(found)) == len(found)
    # per source and seed: (2 criteria x 2 sparsities + dense), pruned and fine-tuned, and recalibrated with BatchNorm
    assert len(found) == 2 * 2 * (2 * 2 + 1) * (2 + 1 + 2)
    assert Point("minivit.dino", "greek", "dense", "", "0", 1, "finetuned", "keep") in found
    assert {p.batchnorm for p in found if p.backbone == "minivit.dino"} == {"keep"}


def test_without_fine_tuning_there_is_none() -> None:
    config = CONFIG | {"grid": CONFIG["grid"] | {"finetune": []}}
    assert {point.stage for point in points(config)} == {"dense", "pruned"}


@pytest.mark.parametrize(
    "label, expected",
    [("magnitude", "magnitude"), ("random", "random/seed_3"), ("obs_fine", "obs_fine/upper/seed_3")],
)
def test_a_scoring_names_what_it_depends_on(label: str, expected: str) -> None:
    assert scoring(CONFIG, label, "upper", 3) == expected


def test_paths_of_evaluations() -> None:
    def path(stage: str, batchnorm: str, criterion: str = "obs_fine") -> str:
        point = Point("minivit.dino", "upper", criterion, "global", "0.5", 1, stage, batchnorm)
        return evaluation(CONFIG, point, "all")

    pruned = "evaluations/minivit.dino/obs_fine/upper/seed_1/global/sparsity_0.5"
    assert path("pruned", "keep") == f"{pruned}/keep/all.csv"
    assert path("pruned", "recalibrate") == f"{pruned}/recalibrate_upper/all.csv"
    assert path("finetuned", "keep") == f"{pruned}/keep/on_upper/seed_1/all.csv"
    assert path("dense", "keep", "dense") == "evaluations/minivit.dino/dense/keep/all.csv"
    assert path("finetuned", "keep", "dense") == "evaluations/minivit.dino/dense/keep/on_upper/seed_1/all.csv"


def test_one_spelling_for_a_sparsity() -> None:
    assert [decimal(q) for q in (0.7, "0.70", 0.9000, 1e-2)] == ["0.7", "0.7", "0.9", "0.01"]


def test_structures() -> None:
    assert structure(CONFIG, "obs_fine") == "block4" and structure(CONFIG, "magnitude") == "none"
