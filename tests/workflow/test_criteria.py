"""Every criterion, schedule and option of a mask, end to end on one backbone."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obtransfer.artifacts import read_table, read_tensors
from obtransfer.masks.packing import unpack
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("criteria")]  # one project for all of them

BACKBONE = "miniresnet.supervised"
DAMPED = {"estimator": "ggn", "damping": 0.1}
CRITERIA: dict[str, dict[str, Any]] = {
    "obd_hessian": {"criterion": "obd", "estimator": "hessian", "damping": 0, "negative": "abs"},
    "obd_mc": {"criterion": "obd", "estimator": "mc_fisher", "damping": "chosen"},
    "obs": {"criterion": "obs", "block_size": 8, **DAMPED, "damping": "chosen"},
    "obs_updated": {"criterion": "obs", "block_size": 8, **DAMPED, "damping": "chosen", "update": "joint"},
    "kfac_obs": {"criterion": "kfac_obs", **DAMPED},
    "ekfac_obs": {"criterion": "kfac_obs", **DAMPED, "eigenvalue_correction": True},
    "grasp_in_rounds": {"criterion": "grasp", "rounds": 3, "schedule": "linear"},
    "obs_in_rounds": {"criterion": "obs", "block_size": 8, **DAMPED, "rounds": 2},
    "synflow": {"criterion": "synflow", "rounds": 20},
    "snip_in_rounds": {"criterion": "snip", "rounds": 11, "schedule": "cubic"},
}
SHARED = ("magnitude", "snip", "grasp", "px")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    from project import create

    project = create(tmp_path_factory.mktemp("criteria") / "project")

    def change(config: dict[str, Any]) -> None:
        config["grid"] |= {
            "backbones": [BACKBONE],
            "criteria": [*SHARED, *CRITERIA],
            "allocations": ["global", "erk"],
            "sparsities": [0.5],
            "batchnorm": ["keep"],
            "finetune": [],
        }
        config["criteria"] = CRITERIA
        config["damping_choice"] = {"candidates": [0.01, 1.0], "sparsities": [0.5, 0.8]}

    project.configure(change)
    project.snakemake("all", f"results/masks/{BACKBONE}/snip/upper/seed_0/n_of_4/sparsity_0.5.safetensors")
    return project


def mask(
    project: Project, scoring: str, allocation: str = "global", sparsity: str = "0.5"
) -> dict[str, np.ndarray]:
    path = project.folder / f"results/masks/{BACKBONE}/{scoring}/{allocation}/sparsity_{sparsity}.safetensors"
    found = read_tensors(path, kind="mask")
    shapes = found.metadata["shapes"]
    return unpack({name: found.tensors[name] for name in shapes}, shapes)


def scorings() -> list[str]:
    free = ("magnitude", "synflow")
    return [name if name in free else f"{name}/upper/seed_0" for name in (*SHARED, *CRITERIA)]


def test_everything_is_there_and_nothing_is_left_to_do(project: Project) -> None:
    assert project.jobs() == set()
    summary = (project.folder / "results/summary.csv").read_text().splitlines()
    assert (
        len(summary) == 1 + (len(CRITERIA) + len(SHARED)) * 2 * 4 + 4
    )  # two allocations, two tasks, two heads


@pytest.mark.parametrize("allocation", ["global", "erk"])
def test_exactly_half_of_the_weights_are_removed_by_every_criterion(
    project: Project, allocation: str
) -> None:
    masks = [mask(project, scoring, allocation) for scoring in scorings()]
    for kept in masks:
        flat = np.concatenate([layer.ravel() for layer in kept.values()])
        assert (~flat).sum() == flat.size // 2
    different = {np.concatenate([np.packbits(layer) for layer in kept.values()]).tobytes() for kept in masks}
    assert len(different) >= len(masks) - 1  # obs and obs_updated remove the same


def test_two_of_four_and_the_table_of_layers(project: Project) -> None:
    kept = mask(project, "snip/upper/seed_0", "n_of_4")
    for name, layer in kept.items():
        if layer.shape[1] % 4:
            assert layer.all(), name
        else:
            grouped = np.moveaxis(layer, 1, -1)
            assert (grouped.reshape(*grouped.shape[:-1], -1, 4).sum(axis=-1) == 2).all(), name
    table = f"results/masks/{BACKBONE}/snip/upper/seed_0/n_of_4/sparsity_0.5.layers.csv"
    rows = read_table(project.folder / table, kind="layers").rows
    assert [row["layer"] for row in rows] == list(kept)
    assert [int(row["num_removed"]) for row in rows] == [int((~layer).sum()) for layer in kept.values()]


def test_the_update_moves_survivors_and_keeps_the_mask(project: Project) -> None:
    plain, updated = (mask(project, f"{name}/upper/seed_0") for name in ("obs", "obs_updated"))
    path = f"results/masks/{BACKBONE}/obs_updated/upper/seed_0/global/sparsity_0.5.safetensors"
    tensors = read_tensors(project.folder / path, kind="mask").tensors
    dense = read_tensors(
        project.folder / f"results/pretrained/{BACKBONE}.safetensors", kind="backbone"
    ).tensors
    moved = []
    for name, kept in plain.items():
        np.testing.assert_array_equal(updated[name], kept)
        new = tensors[f"update:{name}"]
        assert (new[~kept] == 0).all()
        moved.append(np.abs(new[kept] - dense[name][kept]).max() > 1e-4)
    # In a layer whose maps are single pixels, no two weights of a block have curvature in common: nothing moves.
    assert sum(moved) >= len(moved) - 1
    evaluations = project.folder / f"results/evaluations/{BACKBONE}"
    losses = [
        read_table(
            evaluations / f"{name}/upper/seed_0/global/sparsity_0.5/keep/all.csv", kind="evaluation"
        ).rows
        for name in ("obs", "obs_updated")
    ]
    assert losses[0] != losses[1]
    assert not (project.folder / f"results/scores/{BACKBONE}/obs_updated").exists()  # obs has them


def test_one_damping_is_chosen_for_all_and_used(project: Project) -> None:
    table = read_table(project.folder / f"results/damping/{BACKBONE}/upper/seed_0.csv", kind="damping")
    assert {row["criterion"] for row in table.rows} == {"obd_mc", "obs"}
    assert len(table.rows) == 2 * 2 * 2
    means = {
        damping: np.mean([float(r["validation_accuracy"]) for r in table.rows if r["damping"] == damping])
        for damping in ("0.01", "1.0")
    }
    chosen = table.metadata["chosen"]
    assert means[str(chosen)] == max(means.values())
    for label in ("obd_mc", "obs"):
        scores = project.folder / f"results/scores/{BACKBONE}/{label}/upper/seed_0.safetensors"
        assert read_tensors(scores, kind="scores").metadata["details"]["damping"] == chosen


def test_rounds_are_nested_jobs_up_to_ten_and_one_job_beyond(project: Project) -> None:
    rounds = project.folder / f"results/rounds/{BACKBONE}"
    folder = rounds / "grasp_in_rounds/upper/seed_0/global/sparsity_0.5"
    made = sorted(str(p.relative_to(folder)) for p in folder.glob("**/*.safetensors"))
    assert made == [
        "round_1/mask.safetensors",
        *(f"round_2/{n}.safetensors" for n in ("gradient.per_weight", "hessian_gradient.per_weight", "mask", "scores")),
        *(f"round_3/{n}.safetensors" for n in ("gradient.per_weight", "hessian_gradient.per_weight", "scores")),
    ]  # fmt: skip
    masks = [read_tensors(folder / f"round_{r}/mask.safetensors", kind="mask") for r in (1, 2)]
    unpacked = [unpack(m.tensors, m.metadata["shapes"]) for m in masks] + [
        mask(project, "grasp_in_rounds/upper/seed_0")
    ]
    for earlier, later in pairwise(unpacked):
        assert all((later[name] <= earlier[name]).all() for name in later)
    sizes = [sum(int((~layer).sum()) for layer in m.values()) for m in unpacked]
    assert sizes[0] == pytest.approx(sizes[2] / 3, abs=1) and sizes[1] == pytest.approx(
        sizes[2] * 2 / 3, abs=1
    )
    assert [p.name for p in (rounds / "synflow/global/sparsity_0.5").iterdir()] == ["last_scores.safetensors"]


@pytest.mark.parametrize("label", ["grasp_in_rounds", "obs_in_rounds"])
def test_rounds_in_one_job_equal_the_same_rounds_as_jobs(
    project: Project, label: str, tmp_path: Path
) -> None:
    """The same computations with the same number of threads: no bit of a score differs."""
    shutil.copytree(project.folder, tmp_path / "one_job", symlinks=True)
    other = Project(tmp_path / "one_job")
    other.edit("workflow_scripts/obtransfer/dag/grid.py", "MAX_ROUNDS_AS_JOBS = 10", "MAX_ROUNDS_AS_JOBS = 1")
    state = f"{BACKBONE}/{label}/upper/seed_0/global/sparsity_0.5"
    (other.folder / f"results/masks/{state}.safetensors").unlink()
    other.snakemake(f"results/masks/{state}.safetensors")
    rounds, last = CRITERIA[label]["rounds"], f"results/rounds/{state}/last_scores.safetensors"
    by_jobs = read_tensors(
        project.folder / f"results/rounds/{state}/round_{rounds}/scores.safetensors", kind="scores"
    )
    at_once = read_tensors(other.folder / last, kind="scores")
    for name in by_jobs.metadata["layers"]:
        np.testing.assert_array_equal(at_once.tensors[name], by_jobs.tensors[name], err_msg=name)
    scoring = f"{label}/upper/seed_0"
    for name, kept in mask(project, scoring).items():
        np.testing.assert_array_equal(mask(other, scoring)[name], kept, err_msg=name)


def test_shares_are_merged_to_the_same_masks(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.folder, tmp_path / "shares", symlinks=True)
    other = Project(tmp_path / "shares")
    other.configure(lambda config: config["curvature"].update(shares=3))
    folder = f"results/curvature/{BACKBONE}/upper/seed_0"
    names = ("ggn.block8", "ggn.ekfac", "hessian_gradient.per_weight", "mc_fisher.diagonal")
    for name in (*names, "ggn.kfac", "gradient.per_weight"):
        (other.folder / f"{folder}/{name}.safetensors").unlink()
    other.snakemake(*(f"{folder}/{name}.safetensors" for name in names))
    shares = {p.name for p in (other.folder / f"{folder}/shares").iterdir()}
    assert {f"ggn.ekfac.{i}_of_3.safetensors" for i in (1, 2, 3)} <= shares and len(shares) == 18
    for name in names:
        whole, merged = (
            read_tensors(p.folder / f"{folder}/{name}.safetensors", kind="curvature")
            for p in (project, other)
        )
        assert whole.metadata["num_examples"] == merged.metadata["num_examples"] == 20
        for layer, array in whole.tensors.items():
            if (
                "basis" in layer
            ):  # eigenvectors have no sign, and none of their own where eigenvalues coincide
                continue
            if name == "ggn.ekfac":
                trace = array.sum()
                assert merged.tensors[layer].sum() == pytest.approx(trace, rel=1e-4), layer
                continue
            scale = np.abs(array).max()
            np.testing.assert_allclose(merged.tensors[layer], array, atol=1e-4 * scale, err_msg=layer)


def test_what_made_a_file_is_in_it(project: Project) -> None:
    path = project.folder / f"results/curvature/{BACKBONE}/upper/seed_0/mc_fisher.diagonal.safetensors"
    card = read_tensors(path, kind="curvature").metadata
    assert card["loss"] == "squared_error" and card["num_samples"] == 1 and card["num_examples"] == 20
    assert json.dumps(card["made"]["settings"]["settings"]).count("num_probes") == 0
