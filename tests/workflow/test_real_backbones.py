"""ResNet-50 and ViT-S/16 at 224 pixels: official files from a server and an ImageNet tree in, accuracies out."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from obtransfer.artifacts import read_tensors
from obtransfer.assemble import read_mask
from obtransfer.data.imagenet import wordnet_ids
from pictures import save
from project import ROOT, Project

pytestmark = pytest.mark.slow

BACKBONES = ("resnet50.dino", "vit_small_patch16_224.dino_official")
FILES = {"resnet50": "dino_resnet50_pretrain", "vit_small_patch16_224": "dino_deitsmall16_pretrain"}
TASKS = {"fish": [0, 1], "things": [850, 932]}
COUNTS = {"train": 4, "calibration": 2, "validation": 1, "test": 3}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DINO's two files as their server has them: state_dicts without classifier."""
    import timm
    import torch

    root = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    for architecture, name in FILES.items():
        path = root / "dl.fbaipublicfiles.com/dino" / name / f"{name}.pth"
        path.parent.mkdir(parents=True)
        torch.save(timm.create_model(architecture, num_classes=0).state_dict(), path)
    return root


@pytest.fixture(scope="module")
def server(published: Path) -> Iterator[str]:
    """Its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def grow_tree(root: Path) -> None:
    """train and val of ImageNet, with the folders of the wanted classes only."""
    for index in (index for classes in TASKS.values() for index in classes):
        for part, count in (("train", 7), ("val", 3)):
            for number in range(count):
                path = root / part / wordnet_ids()[index] / f"{wordnet_ids()[index]}_{number}.JPEG"
                save(path, index, number, part == "val", size=(300, 260), hue=index / 1000)


def test_official_files_and_an_imagenet_tree_in_accuracies_out(
    fresh: Project, server: str, published: Path
) -> None:
    grow_tree(fresh.folder / "imagenet")

    def real(config: dict[str, Any]) -> None:
        config["weights"] = {"mirror": server}
        config["datasets"] = {"imagenet": {"kind": "imagenet", "root": "imagenet"}}
        config["tasks"] = {
            name: {"dataset": "imagenet", "classes": classes} for name, classes in TASKS.items()
        }
        config["data"]["images_per_class"] = COUNTS
        config["suites"] = {"all": list(TASKS)}
        config["grid"] |= {
            "backbones": list(BACKBONES),
            "sources": ["fish"],
            "criteria": ["magnitude", "obs"],
        }
        config["grid"] |= {"sparsities": [0.5], "batchnorm": ["keep"]}
        config["curvature"] |= {"num_examples": 4, "batch_size": 2}
        config["finetune"] |= {"batch_size": 4}
        config["evaluate"]["batch_size"] = 8

    fresh.configure(real)
    fresh.snakemake()
    results = fresh.folder / "results"

    rows = pd.read_csv(results / "summary.csv")
    points = rows.groupby(["architecture", "criterion", "stage", "task", "head"]).size()
    assert len(points) == 2 * (2 + 2 * 2) * 2 * 2 and (points == 1).all()
    assert rows["num_test"].eq(6).all() and rows["accuracy"].between(0, 1).all()
    for name in BACKBONES:
        (view,) = {path.stem for path in results.glob("tasks/*/224_*.safetensors")}
        masks = [read_mask(path) for path in results.glob(f"masks/{name}/**/*.safetensors")]
        kept = [np.concatenate([layer.ravel() for layer in mask.kept.values()]) for mask in masks]
        assert len(kept) == 2 and not np.array_equal(*kept)
        assert all(abs(bits.mean() - 0.5) < 1e-6 for bits in kept)
        for task in TASKS:
            told = rows.query("stage == 'dense' and head == 'zero_shot' and task == @task")
            told = told[told["architecture"] == name.partition(".")[0]]
            expected = plain_accuracy(fresh.folder, published, name, task, view)
            assert told["accuracy"].item() == pytest.approx(expected, abs=1e-9), (name, task)


def test_the_papers_grid_has_the_jobs_that_its_page_tells() -> None:
    config = str(ROOT / "resources/configs/paper.yaml")
    printed = Project(ROOT).snakemake("--dry-run", "--quiet", "rules", "--configfile", config).stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))
    page = (ROOT / "docs/paper.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE))
    assert len(told) > 8 and {rule: counts.get(rule) for rule in told} == told


def plain_accuracy(folder: Path, published: Path, name: str, task: str, view: str) -> float:
    """By timm's own network, transform and strict loading, from the files; only the head is ours."""
    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform

    architecture = name.partition(".")[0]
    model = timm.create_model(architecture, num_classes=0).eval()
    model.load_state_dict(torch.load(next(published.rglob(f"{FILES[architecture]}.pth")), weights_only=True))
    transform = create_transform((3, 224, 224), crop_pct=0.875, interpolation=view.rpartition("_")[2])
    head = read_tensors(folder / f"results/heads/{name}/{task}.safetensors", kind="head").tensors
    hits = []
    for label, index in enumerate(TASKS[task]):
        for path in sorted((folder / "imagenet/val" / wordnet_ids()[index]).iterdir()):
            with torch.no_grad():
                features = model(transform(Image.open(path).convert("RGB"))[None]).numpy()[0]
            hits.append(int(np.argmax(head["weight"] @ features + head["bias"])) == label)
    return float(np.mean(hits))
