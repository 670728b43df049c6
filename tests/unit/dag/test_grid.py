from typing import Any

import pytest
from obtransfer.dag.grid import (
    Point,
    chosen_damping,
    decimal,
    estimator,
    evaluation,
    points,
    scored_label,
    scoring,
    statistic,
    structure,
)

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


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"criterion": "magnitude"}, "none"),
        ({"criterion": "obd", "estimator": "ggn"}, "diagonal"),
        ({"criterion": "obs", "estimator": "ggn", "block_size": 4}, "block4"),
        ({"criterion": "obs", "estimator": "ggn", "block_size": "row"}, "blockrow"),
        ({"criterion": "kfac_obs", "estimator": "ggn"}, "kfac"),
        ({"criterion": "kfac_obs", "estimator": "ggn", "eigenvalue_correction": True}, "ekfac"),
        ({"criterion": "snip"}, "per_weight"),
    ],
)
def test_structures(settings: dict[str, Any], expected: str) -> None:
    assert structure(settings) == expected


CRITERIA = {
    "obs": {"criterion": "obs", "estimator": "ggn", "block_size": 4, "damping": "chosen"},
    "updated": {
        "criterion": "obs",
        "estimator": "ggn",
        "block_size": 4,
        "damping": "chosen",
        "update": "joint",
    },
    "damped": {"criterion": "obs", "estimator": "ggn", "block_size": 4, "damping": 1.0, "update": "joint"},
    "synflow": {"criterion": "synflow", "rounds": 100},
}


def test_labels_that_differ_after_the_scores_share_them() -> None:
    config = {"criteria": CRITERIA, "grid": {"criteria": ["updated", "damped", "obs"]}}
    labels = ("updated", "damped", "obs", "synflow", "snip")
    assert [scored_label(config, label) for label in labels] == ["obs", "damped", "obs", "synflow", "snip"]
    assert chosen_damping(config) == ["obs"]


@pytest.mark.parametrize(
    "label, expected",
    [
        ("magnitude", ""),
        ("synflow", "curvature/a.b/synflow.per_weight.safetensors"),
        ("snip", "curvature/a.b/upper/seed_1/gradient.per_weight.safetensors"),
        ("updated", "curvature/a.b/upper/seed_1/ggn.block4.safetensors"),
    ],
)
def test_paths_of_statistics_name_the_source_where_one_is_read(label: str, expected: str) -> None:
    assert statistic({"criteria": CRITERIA}, "a.b", label, "upper/seed_1") == expected


def test_a_criterion_without_data_has_no_source_in_its_paths() -> None:
    config = {"criteria": CRITERIA}
    assert scoring(config, "synflow", "upper", 1) == "synflow" and estimator(CRITERIA["synflow"]) == "synflow"
    assert scoring(config, "snip", "upper", 1) == "snip/upper/seed_1"
