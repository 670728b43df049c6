"""The card of an exported model: how it was made, what it can do and what it costs. `card.json` holds it as it is here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from obtransfer.artifacts import atomic_path, read_table, read_tensors

_OF_THE_BACKBONE = (
    "backbone", "architecture", "pretraining", "num_features", "input_size", "mean", "std", "crop", "interpolation",
)  # fmt: skip
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class ModelSection(TypedDict):
    """What the network is and reads. `classes` are those of its logits, none where it returns features."""

    backbone: str
    architecture: str
    pretraining: str
    num_features: NotRequired[int]
    input_size: int
    mean: list[float]
    std: list[float]
    crop: NotRequired[float]
    interpolation: NotRequired[str]
    form: str
    num_classes: int
    classes: list[str]
    in_timm: bool


class History(TypedDict):
    """How the model came about; `criterion` and `settings` (of fine-tuning) are as the configuration writes them."""

    state: str
    batchnorm: str
    tuning: str
    finetuned: bool
    criterion: dict[str, Any]
    updated: bool
    settings: dict[str, Any]


class TaskAccuracies(TypedDict):
    """Accuracies on one task, of this model and (`dense_`) of the one it was made from.

    `fit_split`: the images that the frozen head was fitted on.
    """

    task: str
    num_test: int
    fit_split: NotRequired[str]
    zero_shot: NotRequired[float]
    probe: NotRequired[float]
    dense_zero_shot: NotRequired[float]
    dense_probe: NotRequired[float]


class LayerCosts(TypedDict):
    """One prunable layer."""

    layer: str
    shape: list[int]
    num_weights: int
    num_removed: int
    sparsity: float
    collapsed: int
    flops_dense: int
    flops_sparse: int


class SparsitySection(TypedDict):
    """Removed weights as a fraction of the prunable ones, and of all numbers in the file."""

    num_weights: int
    num_removed: int
    of_prunable: float
    of_all: float
    layers: list[LayerCosts]


class AccuracyCheck(TypedDict):
    """The accuracy of the written weights beside that of their evaluation (None where the task was not evaluated)."""

    task: str
    head: str
    images: int
    measured: float
    evaluated: float | None


class OnnxCheck(TypedDict):
    """How far ONNX Runtime's outputs are from PyTorch's, in the outputs' unit."""

    max_abs_difference: float
    max_abs_output: float
    tolerance: float
    images: int
    same_class: int


class Checks(TypedDict):
    """What was checked before the model was written."""

    accuracy: AccuracyCheck
    onnx: OnnxCheck


class SemiStructured(TypedDict, total=False):
    """2:4 sparsity: `layers` that have it, those PyTorch can convert, those `without`; empty where the model has none."""

    layers: list[str]
    convertible: list[str]
    without: list[str]
    statement: str
    device: str
    speed_up: float
    max_abs_difference: float


class Upstream(TypedDict):
    """How the files that the model is made of were made, and which file the pre-trained weights are from."""

    checkpoint: dict[str, Any]
    weights: dict[str, Any]
    mask: dict[str, Any]


class Card(TypedDict):
    """The whole card."""

    model: ModelSection
    how: History
    accuracies: list[TaskAccuracies]
    sparsity: SparsitySection
    flops: dict[str, int]
    bytes: dict[str, int]
    checks: Checks
    semi_structured: SemiStructured
    packages: dict[str, str]
    made: dict[str, Any]
    upstream: Upstream


def model_section(metadata: Mapping[str, Any], form: str, classes: Sequence[str]) -> ModelSection:
    """From the metadata of a backbone, the form of the model and the classes of its logits."""
    import timm

    known = {key: metadata[key] for key in _OF_THE_BACKBONE if key in metadata}
    in_timm = timm.is_model(known["architecture"].partition(".")[0])
    own = {"form": form, "num_classes": len(classes), "classes": list(classes), "in_timm": in_timm}
    return cast(ModelSection, known | own)


def accuracy_rows(evaluations: Sequence[Path], dense: Sequence[Path]) -> list[TaskAccuracies]:
    """One row per task, from the evaluations of this model and of the dense one. A task of several suites has one."""
    rows: dict[str, dict[str, Any]] = {}
    for prefix, paths in (("", evaluations), ("dense_", dense)):
        for path in paths:
            for row in read_table(path, kind="evaluation").rows:
                found = rows.setdefault(row["task"], {"task": row["task"], "num_test": int(row["num_test"])})
                found[prefix + row["head"]] = float(row["accuracy"])
                if row["head"] == "zero_shot":
                    found["fit_split"] = row["fit_split"]
    return cast(list[TaskAccuracies], list(rows.values()))


def accuracy_of(rows: Sequence[TaskAccuracies], task: str, head: str) -> float | None:
    """The evaluated accuracy of a task by "zero_shot" or "probe", or None where it was not evaluated."""
    for row in rows:
        if row["task"] == task:
            return row["probe"] if head == "probe" else row["zero_shot"]
    return None


def upstream(metadata: Mapping[str, Any], mask: Path | None) -> Upstream:
    """From the metadata of a backbone and the file of its mask."""
    return {
        "checkpoint": metadata.get("checkpoint", {}),
        "weights": metadata["made"],
        "mask": read_tensors(mask, kind="mask").metadata["made"] if mask else {},
    }


def packages() -> dict[str, str]:
    """Versions of the packages that make and check the ONNX file."""
    return {package: version(package) for package in _PACKAGES}


def write_card(card: Card, path: Path) -> None:
    """As JSON."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")
