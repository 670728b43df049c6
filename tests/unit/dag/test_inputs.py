"""What the jobs of every rule read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from obtransfer.dag.inputs import Inputs
from obtransfer.errors import ObtransferError
from obtransfer.settings import Configuration

B = "miniresnet.supervised"
Complete = Callable[..., Configuration]


def test_the_dense_model_has_no_mask_and_keeps_its_batchnorm(inputs: Inputs, job: Callable[..., Any]) -> None:
    dense = job(backbone=B, state="dense", batchnorm="keep", suite="all")
    assert not inputs.mask(dense) and not inputs.recalibration(dense)
    pruned = job(backbone=B, state="random/seed_0/global/sparsity_0.5", batchnorm="recalibrate_greek")
    assert inputs.mask(pruned) == f"results/masks/{B}/random/seed_0/global/sparsity_0.5.safetensors"
    assert inputs.recalibration(pruned) == "results/tasks/greek/32_crop1000_bilinear.safetensors"


def test_a_suite_reads_images_and_heads_of_its_tasks_in_order(
    inputs: Inputs, job: Callable[..., Any]
) -> None:
    wildcards = job(backbone=B, suite="all")
    images, heads = inputs.suite_images(wildcards), inputs.suite_heads(wildcards)
    assert len(images) == len(heads) == 13
    assert images[1] == "results/tasks/lower/32_crop1000_bilinear.safetensors"
    assert heads[1] == f"results/heads/{B}/lower.safetensors"


@pytest.mark.parametrize(
    "scoring, statistic",
    [
        ("magnitude", None),
        ("random/seed_1", None),
        ("synflow", "synflow.per_weight"),
        ("snip/upper/seed_1", "upper/seed_1/gradient.per_weight"),
        ("obs/upper/seed_1", "upper/seed_1/ggn.block8"),
        ("obs_fine/upper/seed_1", "upper/seed_1/ggn.blockrow"),
        ("kfac_obs/upper/seed_1", "upper/seed_1/ggn.kfac"),
        ("ekfac_obs/upper/seed_1", "upper/seed_1/ggn.ekfac"),
    ],
)
def test_scores_read_the_statistic_that_their_criterion_needs(
    inputs: Inputs, job: Callable[..., Any], scoring: str, statistic: str | None
) -> None:
    found = inputs.curvature(job(backbone=B, scoring=scoring))
    assert (found or None) == (statistic and f"results/curvature/{B}/{statistic}.safetensors")


@pytest.mark.parametrize(
    "estimator, structure, prior",
    [
        ("ggn", "block8", None),
        ("ggn", "ekfac", "ggn.kfac"),
        ("mc_fisher", "ekfac", "mc_fisher.kfac"),
        ("hessian_gradient", "per_weight", "gradient.per_weight"),
    ],
)
def test_a_statistic_reads_the_one_it_builds_on(
    inputs: Inputs, job: Callable[..., Any], estimator: str, structure: str, prior: str | None
) -> None:
    wildcards = job(backbone=B, source="upper", seed="1", estimator=estimator, structure=structure)
    found = inputs.prior(wildcards)
    assert (found or None) == (prior and f"results/curvature/{B}/upper/seed_1/{prior}.safetensors")


def test_a_chosen_damping_is_read_by_those_who_ask_for_it(inputs: Inputs, job: Callable[..., Any]) -> None:
    chosen = f"results/damping/{B}/upper/seed_0.csv"
    assert inputs.damping(job(backbone=B, scoring="obs/upper/seed_0")) == chosen
    assert not inputs.damping(job(backbone=B, scoring="obs_fine/upper/seed_0"))
    statistics = inputs.damped_statistics(job(backbone=B, source="upper", seed="0"))
    assert statistics == [f"results/curvature/{B}/upper/seed_0/ggn.block8.safetensors"]


def test_rounds_build_on_each_other(inputs: Inputs, job: Callable[..., Any]) -> None:
    folder = f"results/rounds/{B}/grasp_in_rounds/upper/seed_0/global/sparsity_0.5"
    wildcards = job(
        backbone=B,
        scoring="grasp_in_rounds/upper/seed_0",
        allocation="global",
        sparsity="0.5",
        round="2",
    )
    assert inputs.mask_of_round_before(wildcards) == f"{folder}/round_1/mask.safetensors"
    statistic = f"{folder}/round_2/hessian_gradient.per_weight.safetensors"
    assert inputs.statistic_of_round(wildcards) == statistic
    named = job(**vars(wildcards), estimator="hessian_gradient", structure="per_weight")
    assert inputs.prior_of_round(named) == f"{folder}/round_2/gradient.per_weight.safetensors"
    assert inputs.scores_of_round(wildcards) == f"{folder}/round_2/scores.safetensors"
    first = job(**{**vars(wildcards), "round": "1"})
    # The first round's scores are the one-shot ones, which other labels share.
    assert inputs.scores_of_round(first) == f"results/scores/{B}/grasp_in_rounds/upper/seed_0.safetensors"
    assert inputs.scores_of_mask(wildcards) == f"{folder}/round_3/scores.safetensors"


def test_many_rounds_are_one_job(inputs: Inputs, job: Callable[..., Any]) -> None:
    wildcards = job(backbone=B, scoring="synflow", allocation="erk", sparsity="0.9")
    expected = f"results/rounds/{B}/synflow/erk/sparsity_0.9/last_scores.safetensors"
    assert inputs.scores_of_mask(wildcards) == expected


def test_an_update_reads_weights_and_blocks(inputs: Inputs, job: Callable[..., Any]) -> None:
    updated = job(backbone=B, scoring="obs_updated/upper/seed_0", allocation="global", sparsity="0.5")
    assert inputs.weights_to_update(updated) == f"results/pretrained/{B}.safetensors"
    assert inputs.curvature_to_update(updated) == (
        f"results/curvature/{B}/upper/seed_0/ggn.block8.safetensors"
    )
    # Labels that differ only in the update share their scores.
    assert inputs.scores_of_mask(updated) == f"results/scores/{B}/obs/upper/seed_0.safetensors"
    plain = job(backbone=B, scoring="obs/upper/seed_0", allocation="global", sparsity="0.5")
    assert not inputs.weights_to_update(plain) and not inputs.curvature_to_update(plain)


def test_shares_of_the_calibration_images(complete: Complete, job: Callable[..., Any]) -> None:
    inputs = Inputs(complete(curvature={"shares": 2}))
    wildcards = job(backbone=B, source="upper", seed="0", estimator="ggn", structure="diagonal")
    folder = f"results/curvature/{B}/upper/seed_0/shares"
    assert inputs.shares(wildcards) == [f"{folder}/ggn.diagonal.{n}_of_2.safetensors" for n in (1, 2)]


@pytest.mark.parametrize(
    "form, batchnorm, state, tuning, task",
    [
        ("zero_shot_greek", "keep", "dense", None, "greek"),
        ("features", "keep", "dense", "on_lower/seed_0", "lower"),
        ("features", "recalibrate_math", "dense", None, "math"),
        ("features", "keep", "obs/greek/seed_0/global/sparsity_0.5", None, "greek"),
        ("features", "keep", "magnitude/global/sparsity_0.5", None, "upper"),
    ],
)
def test_an_export_is_checked_on_the_task_of_its_last_step(
    inputs: Inputs, job: Callable[..., Any], form: str, batchnorm: str, state: str, tuning: str | None, task: str
) -> None:  # fmt: skip
    tuned = {"tuning": tuning} if tuning else {}
    wildcards = job(backbone=B, form=form, batchnorm=batchnorm, state=state, **tuned)
    assert inputs.export_head(wildcards) == f"results/heads/{B}/{task}.safetensors"
    model = "/".join(filter(None, (B, state, batchnorm, tuning)))
    assert inputs.export_evaluations(wildcards) == [f"results/evaluations/{model}/all.csv"]


def test_results_lie_where_the_configuration_says(complete: Complete, job: Callable[..., Any]) -> None:
    inputs = Inputs(complete(results="elsewhere/run_1"))
    assert inputs.weights(job(backbone=B)) == f"elsewhere/run_1/pretrained/{B}.safetensors"


@pytest.mark.parametrize(
    "call, wildcards, message",
    [
        (
            "curvature",
            {"scoring": "nope/upper/seed_0"},
            r"no criterion or label is called 'nope'; there are: obs",
        ),
        ("suite_images", {"suite": "some"}, r"no suite is called 'some'; there are: all"),
        (
            "prior",
            {"estimator": "gnn", "structure": "diagonal"},
            r"no estimator is called 'gnn'; there are: ggn",
        ),
    ],
)
def test_unknown_names_are_reported_with_those_that_exist(
    inputs: Inputs, job: Callable[..., Any], call: str, wildcards: dict[str, str], message: str
) -> None:
    with pytest.raises(ObtransferError, match=message):
        getattr(inputs, call)(job(backbone=B, **wildcards))


def test_the_grid_reads_every_evaluation_once(inputs: Inputs) -> None:
    found = list(inputs.evaluations_of_grid(None))
    assert len(found) == len(set(found)) > 200
