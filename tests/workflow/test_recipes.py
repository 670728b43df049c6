"""The recipes of docs/extending.md as they stand: file written, line added, configuration, run, result checked."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from obtransfer.artifacts import map_tensors, read_tensors
from obtransfer.curvature.statistic import read_calibration
from obtransfer.models.load import load_backbone
from pictures import fill_folder
from project import ROOT, Project, create

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("recipes")]

PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
KINDS = ("criterion", "estimator", "structure", "data set", "source of weights", "figure")
BACKBONE = "miniresnet.supervised"


@dataclass(frozen=True)
class Recipe:
    """A section of the page: its files, the lines for existing files, and the configuration."""

    files: dict[str, str]
    lines: list[tuple[str, str]]
    configuration: str

    @classmethod
    def read(cls, kind: str) -> Recipe:
        (section,) = re.findall(rf"^## An? {kind}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
        blocks = {
            language: re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
            for language in ("python", "diff", "yaml")
        }
        named = {language: [block.partition("\n") for block in found] for language, found in blocks.items()}
        return cls(
            {first.removeprefix("# "): code for first, _, code in named["python"]},
            [(first.removeprefix("# "), change) for first, _, change in named["diff"]],
            "".join(blocks["yaml"]),
        )

    def follow(self, project: Project) -> None:
        """Write the files and change the lines."""
        for name, code in self.files.items():
            assert not (project.folder / name).exists()
            (project.folder / name).write_text(code, encoding="utf-8")
        for name, change in self.lines:
            lines = change.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] != "+")
            assert (project.folder / name).read_text("utf-8").count(old) == 1
            project.edit(name, old, "".join(line[1:] for line in lines if line[0] != "-"))


def photographs(root: Path) -> None:
    """Two classes of 18 photographs, and the list that the recipe's data set reads."""
    fill_folder(root, {"cat": 18, "dog": 18, "emu": 18})
    with (root / "list.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "class", "split"])
        for number, file in enumerate(sorted(root.rglob("*.jpg"))):
            split = "train" if number % 18 < 12 else "test"
            writer.writerow([file.relative_to(root), file.parent.name, split])


def checkpoint(path: Path) -> None:
    """A ResNet-18 as the recipe's training script saves it."""
    import timm
    import torch

    torch.manual_seed(0)
    weights = timm.create_model("resnet18", num_classes=0).state_dict()
    state = {f"net.encoder.{key}": value for key, value in weights.items()}
    path.parent.mkdir()
    torch.save({"weights": {**state, "net.projection.0.weight": torch.zeros(3)}, "epoch": 9}, path)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """All recipes followed in one copy of the workflow; one run for the weights, one for everything else."""
    project = create(tmp_path_factory.mktemp("recipes") / "project")
    photographs(project.folder / "photos")
    checkpoint(project.folder / "weights/ours.pth")

    def shrink(config: dict) -> None:
        config["grid"] |= {
            "backbones": [BACKBONE],
            "sparsities": [0.5],
            "batchnorm": ["keep"],
            "finetune": [],
        }
        config["suites"] = {"all": ["upper", "digits"]}

    project.configure(shrink)
    configured = {}
    for kind in KINDS:
        recipe = Recipe.read(kind)
        assert len(recipe.files) == len(recipe.lines) == 1
        recipe.follow(project)
        if recipe.configuration:
            configured[kind] = f"{kind.replace(' ', '_')}.yaml"
            (project.folder / configured[kind]).write_text(recipe.configuration, encoding="utf-8")
    weights = configured.pop("source of weights")
    project.snakemake("results/pretrained/resnet18.ours.safetensors", "--configfile", weights)
    folder = f"results/curvature/{BACKBONE}/upper/seed_0"
    project.snakemake(
        f"results/scores/{BACKBONE}/tempered_2/upper/seed_0.safetensors",
        f"results/scores/{BACKBONE}/obd_smoothed/upper/seed_0.safetensors",
        f"{folder}/ggn.trace_by_output.safetensors",
        "results/tasks/pets/32_crop1000_bilinear.safetensors",
        "results/figures",
        "--configfile",
        *configured.values(),
    )
    return project


def curvature(project: Project, statistic: str) -> dict[str, np.ndarray]:
    path = project.folder / f"results/curvature/{BACKBONE}/upper/seed_0/{statistic}.safetensors"
    return read_tensors(path, kind="curvature").tensors


def test_the_criterion_scores_by_its_formula(project: Project) -> None:
    path = project.folder / f"results/scores/{BACKBONE}/tempered_2/upper/seed_0.safetensors"
    scores = read_tensors(path, kind="scores")
    dense = load_backbone(project.folder / f"results/pretrained/{BACKBONE}.safetensors").model.state_dict()
    h = curvature(project, "ggn.diagonal")
    assert scores.tensors.keys() == h.keys()
    for name, found in scores.tensors.items():
        expected = 0.5 * np.sqrt(h[name].astype(float)) * dense[name].double().numpy() ** 2
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_estimator_averages_squared_gradients_of_smoothed_targets(project: Project) -> None:
    import torch

    results = project.folder / "results"
    backbone = load_backbone(results / f"pretrained/{BACKBONE}.safetensors")
    examples = read_calibration(
        next(results.glob("tasks/upper/*.safetensors")),
        results / f"heads/{BACKBONE}/upper.safetensors",
        backbone.preprocessing,
        {"num_examples": 20, "batch_size": 1},
        seed=0,
    )
    assert examples.head is not None
    weights = {name: backbone.model.get_parameter(name) for name in backbone.prunable}
    expected = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for image, label, _ in examples:
        logits = backbone.model(image) @ examples.head.weight.T + examples.head.bias
        target = torch.full_like(logits, 0.2 / logits.shape[1])
        target[0, label] += 1 - 0.2
        gradients = torch.autograd.grad(0.5 * (logits - target).square().sum(), list(weights.values()))
        for name, gradient in zip(weights, gradients, strict=True):
            expected[name] += gradient**2 / 20
    found = curvature(project, "smoothed_fisher.diagonal")
    assert found.keys() == expected.keys()
    for name, mean in expected.items():
        np.testing.assert_allclose(found[name], mean.numpy(), rtol=1e-3, atol=1e-5 * float(mean.max()))


def test_the_structure_holds_the_sums_of_the_diagonal(project: Project) -> None:
    diagonal, traces = (curvature(project, f"ggn.{word}") for word in ("diagonal", "trace_by_output"))
    assert traces.keys() == diagonal.keys()
    for name, h in diagonal.items():
        np.testing.assert_allclose(traces[name], h.reshape(1, len(h), -1).sum(axis=2), rtol=1e-4)


def test_the_data_set_makes_a_task(project: Project) -> None:
    task = map_tensors(project.folder / "results/tasks/pets/32_crop1000_bilinear.safetensors", kind="task")
    assert task.metadata["classes"] == ["cat", "dog"]
    assert np.bincount(task.tensors["labels"]).tolist() == [18, 18]


def test_the_format_writes_the_backbone(project: Project) -> None:
    import torch

    saved = torch.load(project.folder / "weights/ours.pth")["weights"]
    found = load_backbone(project.folder / "results/pretrained/resnet18.ours.safetensors").model.state_dict()
    assert found.keys() == {name.removeprefix("net.encoder.") for name in saved if "encoder" in name}
    assert all(torch.equal(values, saved[f"net.encoder.{name}"]) for name, values in found.items())


def test_the_figure_is_drawn_and_shows_the_criterion(project: Project) -> None:
    (name,) = Recipe.read("figure").files
    drawn = project.folder / "results/figures" / Path(name).stem
    assert drawn.with_suffix(".png").stat().st_size > 5_000
    texts = re.findall("<!-- (.*?) -->", drawn.with_suffix(".svg").read_text("utf-8"))
    assert {"tempered_2", "accuracy (%)"} <= set(texts)


def test_the_readme_links_to_every_recipe() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for kind in KINDS:
        article = "an" if kind == "estimator" else "a"
        assert f"docs/extending.md#{article}-{kind.replace(' ', '-')})" in readme
    assert readme.count("\n") < 150
