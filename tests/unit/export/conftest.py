"""Artefacts as the workflow makes them, for networks with random weights, and the step that exports them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_model import export_model
from obtransfer.artifacts import write_table, write_tensors
from obtransfer.assemble import load_pruned
from obtransfer.data.splits import SPLITS
from obtransfer.evaluate.features import extract_features
from obtransfer.evaluate.tasks import evaluate_tasks
from obtransfer.heads.ridge import RidgeHead, fit_ridge
from obtransfer.masks.mask import Mask
from obtransfer.models.build import build
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.models.prunable import prunable_parameters

torch.set_num_threads(1)
PREPROCESSING = Preprocessing(32, 1.0, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
NUM_CLASSES, PER_SPLIT = 3, 4
MADE = {"git_commit": "", "versions": {"torch": "2"}, "inputs": {"results/x.safetensors": "0" * 64}}


class Workshop:
    """One model's files in a folder."""

    def __init__(self, folder: Path, architecture: str, size: int) -> None:
        self.folder, self.architecture, self.size = folder, architecture, size
        self.weights, self.task, self.head = (
            folder / f"{name}.safetensors" for name in ("weights", "task", "head")
        )
        self.mask = folder / "mask_in.safetensors"
        self.evaluation, self.dense = folder / "evaluation.csv", folder / "dense.csv"
        torch.manual_seed(0)
        model = build(architecture)
        _liven(model)
        about = {
            "backbone": f"{architecture}.random",
            "architecture": architecture,
            "pretraining": "random",
            **asdict(PREPROCESSING),
            "input_size": size,
            "prunable": prunable_parameters(model),
            "made": {},
        }
        write_tensors(self.weights, _arrays(model), kind="backbone", metadata=about)
        self.shapes = {name: tuple(model.get_parameter(name).shape) for name in prunable_parameters(model)}
        self._write_task()
        self._write_head(model)

    def _write_task(self) -> None:
        generator = np.random.default_rng(1)
        number = NUM_CLASSES * PER_SPLIT * len(SPLITS)
        labels = np.arange(number) % NUM_CLASSES
        pixels = generator.integers(0, 120, (number, self.size, self.size, 3), dtype=np.uint8)
        pixels[..., 0] += (60 * labels[:, None, None]).astype(np.uint8)  # what tells the classes apart
        split = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), NUM_CLASSES * PER_SPLIT)
        tensors = {"pixels": pixels, "labels": labels.astype(np.int64), "split": split}
        classes = [f"class {k}" for k in range(NUM_CLASSES)]
        write_tensors(self.task, tensors, kind="task", metadata={"task": "colours", "classes": classes})
        self.tensors = tensors

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.tensors["split"] == SPLITS.index(name)
        return self.tensors["pixels"][chosen], self.tensors["labels"][chosen]

    def _write_head(self, model: torch.nn.Module) -> None:
        pixels, labels = self.split("train")
        features = extract_features(model, pixels, PREPROCESSING, batch_size=8)
        self.ridge = fit_ridge(features, labels, NUM_CLASSES)
        tensors = {"weight": self.ridge.weight, "bias": self.ridge.bias}
        write_tensors(self.head, tensors, kind="head", metadata={"fit_split": "train"})

    def write_mask(self, mask: dict[str, np.ndarray], update: dict[str, np.ndarray] | None = None) -> None:
        made = Mask(mask, update or {})
        metadata = {"shapes": made.shapes(), "made": {"rule": "compute_mask"}}
        write_tensors(self.mask, made.tensors(), kind="mask", metadata=metadata)

    def draw_mask(self, sparsity: float) -> dict[str, np.ndarray]:
        """A random mask, also written."""
        generator = np.random.default_rng(2)
        mask = {name: generator.random(shape) >= sparsity for name, shape in self.shapes.items()}
        self.write_mask(mask)
        return mask

    def evaluate(self, *, mask: bool, recalibrated: bool) -> list[dict[str, Any]]:
        """Rows as the rule evaluate_pruned makes them, written for the model and for the dense one."""
        from obtransfer.artifacts import map_tensors

        for path, masked in ((self.dense, False), (self.evaluation, True)):
            files = (self.mask if mask and masked else None, self.task if recalibrated and masked else None)
            backbone = load_pruned(self.weights, *files, device="cpu")
            task, head = map_tensors(self.task, kind="task"), RidgeHead(self.ridge.weight, self.ridge.bias)
            rows = evaluate_tasks(backbone, {"colours": task}, {"colours": head}, alpha=1.0, batch_size=8)
            rows = [{**row, "fit_split": "train"} for row in rows]
            write_table(path, rows, kind="evaluation")
        return rows

    def export(
        self, *, form: str = "features", mask: bool = True, recalibrated: bool = False, **how: Any
    ) -> Path:
        """Run the step; the folder it fills."""
        out = self.folder / "export" / form
        history = {
            "state": "obs/colours/seed_0/global/sparsity_0.5",
            "batchnorm": "recalibrate_colours" if recalibrated else "keep",
            "tuning": "",
            "finetuned": False,
            "criterion": {"criterion": "obs"},
            "updated": False,
            "settings": {},
        }
        export_model(
            self.weights,
            self.mask if mask else None,
            self.task if recalibrated else None,
            self.task,
            self.head,
            [self.evaluation],
            [self.dense],
            out / "model.safetensors",
            out / "mask.safetensors",
            out / "model.onnx",
            out / "card.json",
            out / "card.md",
            form=form,
            how=history | how,
            alpha=1.0,
            batch_size=8,
            threads=1,
            made=MADE,
        )
        return out


def _liven(model: torch.nn.Module) -> None:
    """Make sure that nothing is an identity: BatchNorm and norms have statistics, scales and shifts of their own."""
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith(("weight", "running_var")) else (-0.2, 0.2)
            tensor.uniform_(low, high)


def _arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.fixture
def workshop(tmp_path: Path) -> Callable[[str, int], Workshop]:
    """Make a `Workshop` of an architecture and its images' size."""
    return lambda architecture, size: Workshop(tmp_path, architecture, size)
