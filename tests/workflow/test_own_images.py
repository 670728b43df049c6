"""From a folder of photographs and a timm name to accuracy curves and a pruned model: what a practitioner types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from obtransfer.artifacts import map_tensors
from pictures import fill_folder
from project import ROOT, Project

pytestmark = pytest.mark.slow

SHIPPED = ROOT / "resources/configs/own_images.yaml"


def weights(path: Path, architecture: str) -> None:
    """A file as timm writes it, classifier included."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def write(path: Path, config: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_the_shipped_configuration_is_short_and_says_what_would_run() -> None:
    text = SHIPPED.read_text()
    assert text.count("\n") < 30
    counts = dict(
        line.split()
        for line in Project(ROOT)
        .snakemake("--dry-run", "--quiet", "rules", "--configfile", str(SHIPPED))
        .stdout.splitlines()
        if len(line.split()) == 2
    )
    assert counts["prepare_images"] == counts["download_pretrained"] == counts["export_finetuned"] == "1"
    assert counts["compute_mask"] == "8"


def test_photographs_and_a_name_in_curves_and_a_model_out(fresh: Project) -> None:
    photos = fresh.folder / "photos"
    fill_folder(photos, {"apple": 58, "pear": 56, "plum": 57}, size=(80, 60))
    (photos / "pear" / "image_3.jpg").write_bytes(b"not an image")
    weights(fresh.folder / "resnet18.safetensors", "resnet18")
    own = yaml.safe_load(SHIPPED.read_text())
    own["datasets"]["photos"]["root"] = "photos"
    own["grid"] |= {"backbones": ["resnet18.mine"], "criteria": ["obd"], "sparsities": [0.8, 0.9]}
    own["backbones"] = {
        "resnet18.mine": {
            "format": "local",
            "address": "resnet18.safetensors",
            "input_size": 64,
            "crop": 0.875,
        }
    }
    own["finetune"]["epochs"] = 1
    configured = ("--configfile", write(fresh.folder / "own.yaml", own))
    fresh.snakemake(*configured)
    results = fresh.folder / "results/own_images"

    rows = pd.read_csv(results / "summary.csv")
    assert set(rows["num_classes"]) == {3} and set(rows["fit_split"]) == {"train"}
    curve = rows[
        (rows["head"] == "zero_shot") & (rows["batchnorm"] == "keep") & (rows["stage"] != "finetuned")
    ]
    assert sorted(curve["sparsity"]) == [0, 0.8, 0.9] and curve["is_source"].all()
    dense = curve.loc[curve["sparsity"] == 0, "accuracy"].item()
    assert dense > 0.8  # the classes have different colours; chance is a third
    assert "Accuracy on the source task" in (results / "summary.txt").read_text()
    assert (results / "figures/accuracy_zero_shot.png").stat().st_size > 10_000
    (log,) = results.glob("logs/prepare_images/own/*.log")
    assert "can't be decoded, left out: pear/image_3.jpg" in log.read_text()
    assert len([*results.glob("exports/resnet18.mine/**/model.safetensors")]) == 1
    # The same again does nothing; another place of the same photographs makes the same file.
    assert "Nothing to be done" in (done := fresh.snakemake(*configured)).stdout + done.stderr
    (task,) = results.glob("tasks/own/*.safetensors")
    before = task.read_bytes()
    assert len(map_tensors(task, kind="task").tensors["labels"]) == 58 + 56 + 57 - 1
    photos.rename(fresh.folder / "elsewhere")
    own["datasets"]["photos"]["root"] = str(fresh.folder / "elsewhere")
    configured = ("--configfile", write(fresh.folder / "own.yaml", own))
    fresh.snakemake(*configured, "--until", "prepare_images")
    assert task.read_bytes() == before


def test_a_data_set_is_downloaded_once_for_all_its_tasks(fresh: Project) -> None:
    def add(config: dict[str, Any]) -> None:
        config["datasets"] = {"cifar": {"kind": "cifar10", "root": "data", "download": True}}
        config["tasks"] = {
            name: {"dataset": "cifar", "classes": {"draw": 5, "part": part}} for part, name in enumerate("ab")
        }

    fresh.configure(add)
    tasks = {f"tasks/{name}/224_crop875_bicubic.safetensors" for name in "ab"}
    rendered = "tasks/upper/224_crop875_bicubic.safetensors"
    targets = [f"results/{task}" for task in (*sorted(tasks), rendered)]
    assert fresh.jobs(*targets) == {"datasets/cifar.csv", rendered} | tasks
    fresh.configure(lambda config: config["datasets"]["cifar"].pop("download"))
    assert fresh.jobs(*targets) == {rendered} | tasks


def test_a_folder_that_is_not_there_is_told_in_words(fresh: Project) -> None:
    done = fresh.snakemake("--configfile", str(SHIPPED), "--until", "prepare_images", check=False)
    assert done.returncode != 0
    assert (
        "task own: there is no folder /path/to/photos, the root of a data set of kind image_folder"
        in done.stderr
    )


def test_heads_fitted_as_the_papers_authors_do_are_labelled_everywhere(fresh: Project) -> None:
    synsets = {963: "n07873807", 5: "n01496331", 0: "n01440764"}
    for part, count, seed in (("train", 5, 0), ("val", 2, 1)):
        counts = dict.fromkeys(synsets.values(), count)
        fill_folder(fresh.folder / "imagenet" / part, counts, size=(60, 50), seed=seed)
    config = {
        "datasets": {"imagenet": {"kind": "imagenet", "root": "imagenet"}},
        "tasks": {
            "imagenet_0": {"dataset": "imagenet", "classes": list(synsets)},
            "imagenet_1": {"dataset": "imagenet", "classes": [0, 5]},
        },
        "data": {"images_per_class": {"train": 2, "calibration": 2, "validation": 1, "test": 2}},
        "suites": {"all": ["imagenet_0", "imagenet_1"]},
        "grid": {
            "backbones": ["miniresnet.supervised"],
            "sources": ["imagenet_0"],
            "criteria": ["magnitude"],
            "sparsities": [0.5],
            "batchnorm": ["keep"],
            "finetune": [],
        },
        "heads": {"fit_split": "test"},
        "curvature": {"num_examples": 6, "batch_size": 3},
    }
    fresh.snakemake("--configfile", write(fresh.folder / "theirs.yaml", config))
    results = fresh.folder / "results"
    rows = pd.read_csv(results / "summary.csv")
    told = set(zip(rows["head"], rows["fit_split"], strict=True))
    assert told == {("zero_shot", "test"), ("probe", "train")}
    dense = rows[(rows["stage"] == "dense") & (rows["head"] == "zero_shot")]
    assert (dense["accuracy"] == 1).all()  # fitted on the images that it is scored on
    for name in ("summary.txt", "criteria.md"):
        assert "heads.fit_split: test" in (results / name).read_text()
