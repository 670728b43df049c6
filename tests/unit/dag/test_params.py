"""What the jobs of every rule are told besides files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from obtransfer.dag.inputs import Inputs
from obtransfer.dag.params import Params
from obtransfer.settings import Configuration

B = "miniresnet.supervised"
Complete = Callable[..., Configuration]


@pytest.fixture
def params(inputs: Inputs) -> Params:
    return Params(inputs)


def test_a_criterion_is_told_its_declared_settings(params: Params, job: Callable[..., Any]) -> None:
    obs = job(backbone=B, scoring="obs_fine/upper/seed_1")
    assert params.criterion(obs) == "obs" and params.seed_of_scoring(obs) == 1
    assert params.criterion_options(obs) == {"damping": 0.1, "damping_mode": "relative"}
    # A damping that is chosen comes in a file.
    assert params.criterion_options(job(scoring="obs/upper/seed_1")) == {"damping_mode": "relative"}
    assert params.criterion_options(job(scoring="magnitude")) == {}
    assert params.seed_of_scoring(job(scoring="magnitude")) == 0


def test_an_estimator_is_told_what_it_reads(params: Params, job: Callable[..., Any]) -> None:
    common = {"num_examples": 200, "batch_size": 50, "memory_gb": None, "loss": "squared_error"}
    assert params.statistic_settings(job(estimator="ggn")) == common
    assert params.statistic_settings(job(estimator="mc_fisher")) == common | {"num_samples": 1}
    assert params.statistic_settings(job(estimator="hessian")) == common | {"num_probes": 100}


def test_rounds_grow_to_the_sparsity(params: Params, job: Callable[..., Any]) -> None:
    wildcards = job(scoring="grasp_in_rounds/upper/seed_0", sparsity="0.9", round="2", allocation="global")
    assert params.sparsities_of_rounds(wildcards) == ["0.3", "0.6", "0.9"]
    assert params.sparsity_of_round(wildcards) == "0.6"
    statistic = params.statistic_in_rounds(wildcards)
    assert (statistic["estimator"], statistic["structure"]) == ("hessian_gradient", "per_weight")
    assert params.statistic_in_rounds(job(scoring="magnitude")) == {}


def test_tasks_of_the_project_need_no_files_and_others_do(
    complete: Complete, job: Callable[..., Any]
) -> None:
    own = {
        "datasets": {"photos": {"kind": "image_folder", "root": "photos"}},
        "tasks": {
            "pets": {"dataset": "photos", "classes": ["cat", "dog"], "images_per_class": {"train": "rest"}}
        },
    }
    params = Params(Inputs(complete(**own)))
    glyphs, pets = job(task="upper"), job(task="pets")
    assert params.task_settings(glyphs) == {}
    assert params.task_settings(pets)["dataset"]["root"] == "photos"
    assert list(params.task_settings(pets)["classes"]) == ["cat", "dog"]
    assert params.task_data(pets)["images_per_class"]["train"] == "rest"
    assert params.task_data(glyphs)["images_per_class"] == {
        "train": 30, "calibration": 30, "validation": 10, "test": 50,
    }  # fmt: skip


def test_a_replaced_local_file_of_weights_is_noticed(
    complete: Complete, job: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"old")
    entry = {"format": "local", "address": str(file), "architecture": "resnet18"}
    params = Params(Inputs(complete(backbones={"resnet18.mine": entry})))
    mine = job(backbone="resnet18.mine")
    before = params.file_of_backbone(mine)
    assert before[0] == 3
    file.write_bytes(b"newer")
    assert params.file_of_backbone(mine) != before
    file.unlink()
    assert params.file_of_backbone(mine) == []


def test_parameters_are_plain_values(params: Params, job: Callable[..., Any]) -> None:
    """Snakemake compares and stores them as text."""
    model = job(
        backbone=B, state="obs/upper/seed_0/global/sparsity_0.5", batchnorm="keep", tuning="on_upper/seed_0"
    )
    told = [
        params.backbone(model), params.export_history(model), params.points(model), params.damped_labels(model),
        params.damping_choice(model), params.fetching(model, None),
    ]  # fmt: skip
    assert json.loads(json.dumps(told))


def test_the_history_of_an_export_is_what_the_configuration_writes(
    params: Params, job: Callable[..., Any]
) -> None:
    updated = job(backbone=B, state="obs_updated/upper/seed_0/global/sparsity_0.5", batchnorm="keep")
    history = params.export_history(updated)
    assert history["criterion"]["criterion"] == "obs" and history["criterion"]["block_size"] == 8
    assert history["updated"] and not history["finetuned"] and history["settings"] == {}
    dense = params.export_history(job(backbone=B, state="dense", batchnorm="keep"))
    assert dense["criterion"] == {} and not dense["updated"]


def test_code_of_different_names_has_different_digests(params: Params, job: Callable[..., Any]) -> None:
    digests = {
        params.criterion_code(job(scoring="magnitude")),
        params.criterion_code(job(scoring="snip/upper/seed_0")),
        params.estimator_code(job(estimator="ggn", structure="diagonal")),
        params.estimator_code(job(estimator="ggn", structure="kfac")),
        params.estimator_code(job(estimator="hessian", structure="diagonal")),
        params.allocation_code(job(allocation="global")),
        params.allocation_code(job(allocation="erk")),
        params.task_code(job(task="upper")),
    }
    assert len(digests) == 8
