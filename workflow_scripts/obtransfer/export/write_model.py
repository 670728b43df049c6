"""From a pruned network to the files that go home, each checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from obtransfer.artifacts import Artifact, write_tensors
from obtransfer.dag.exports import FEATURES
from obtransfer.data.pixels import select
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.accuracy import score_logits
from obtransfer.evaluate.features import extract_features
from obtransfer.export import checks, onnx_file, semi_structured
from obtransfer.export.accuracies import accuracy_of
from obtransfer.export.card import cost_sections
from obtransfer.export.classifier import fold_head
from obtransfer.export.flops import count_flops
from obtransfer.export.load import KIND
from obtransfer.heads.ridge import RidgeHead, fit_ridge
from obtransfer.masks.packing import pack
from obtransfer.masks.statistics import count_weights, density_by_layer
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.models.prunable import prunable_parameters


@dataclass(frozen=True)
class Request:
    """What is to come out, and how the images are read.

    `form`: features, zero_shot_TASK or probe_TASK; `device`, `batch_size`: for speed only; `alpha`: of a probe.
    """

    form: str
    alpha: float
    batch_size: int
    device: str
    threads: int

    @property
    def head(self) -> str:
        """Whose accuracies the model has on the task it is checked on: features go through the frozen head."""
        return "probe" if self.form.startswith("probe_") else "zero_shot"


def mask_of(model: nn.Module, mask: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """The mask with its layers in the network's order; without one, that of a model of which nothing is removed.

    Raises:
        ObtransferError: the mask has other layers than the network.
    """
    names = prunable_parameters(model)
    if mask is None:
        return {name: np.ones(model.get_parameter(name).shape, dtype=bool) for name in names}
    if {*mask} != {*names}:
        raise ObtransferError(
            f"the mask must have the {len(names)} prunable layers of the model, but differs in "
            f"{', '.join(sorted({*mask} ^ {*names}))}"
        )
    return {name: mask[name] for name in names}


def write_mask(path: Path, mask: Mapping[str, np.ndarray], made: Mapping[str, Any]) -> None:
    """As the workflow's other masks, without an update: that is in the weights."""
    num_weights, num_removed = count_weights(mask)
    metadata = {
        "num_weights": num_weights,
        "num_removed": num_removed,
        "density_by_layer": density_by_layer(mask),
        "shapes": {name: list(layer.shape) for name, layer in mask.items()},
        "made": made,
    }
    write_tensors(path, pack(mask), kind="mask", metadata=metadata)


def finish(
    model: nn.Module, about: Mapping[str, Any], task: Artifact, head: RidgeHead, request: Request
) -> tuple[RidgeHead, float]:
    """Give the network its classifier, in place, if one is asked for, and score it on the task's test images.

    Returns:
        The head that was folded in, or through which features were scored; and the accuracy.
    """
    if request.head == "probe":
        pixels, labels = select(task, "train")
        head = fit_ridge(_outputs(model, pixels, about, request), labels, head.num_classes, request.alpha)
    if request.form != FEATURES:
        fold_head(model, head)
    pixels, labels = select(task, "test")
    found = _outputs(model, pixels, about, request)
    logits = head.logits(found) if request.form == FEATURES else found
    return head, score_logits(logits, labels).accuracy


def describe(
    model: nn.Module,
    about: Mapping[str, Any],
    mask: Mapping[str, np.ndarray],
    task: Artifact,
    head: RidgeHead,
    accuracy: float,
    rows: Sequence[dict[str, Any]],
    request: Request,
    onnx: Path,
) -> dict[str, Any]:
    """Write `onnx` and return what the card says of costs, checks and 2:4.

    Args:
        model: finished, on the CPU.
        about: the backbone's metadata.
        mask: name to bool array, True = keep.
        task: whose test images are looked at.
        head: from features to logits.
        accuracy: of the model on those images.
        rows: the evaluated accuracies.
        request: what was asked for.
        onnx: the file.

    Raises:
        ObtransferError: a check failed.
    """
    pixels, _ = select(task, "test")
    name = task.metadata["task"]
    evaluated = accuracy_of(rows, name, request.head)
    checks.check_accuracy(accuracy, evaluated, len(pixels))
    images = checks.images_of(pixels, about)
    onnx_file.write_onnx(model, onnx, about["input_size"])
    expected = checks.outputs(model, images)
    found = onnx_file.run_onnx(onnx, images.numpy(), threads=request.threads)
    difference = onnx_file.compare(found, expected)
    same = checks.same_choices(found, expected, head if request.form == FEATURES else None)
    told = {
        "task": name,
        "head": request.head,
        "images": len(pixels),
        "measured": accuracy,
        "evaluated": evaluated,
    }
    gpu = request.device == "cuda" and semi_structured.gpu_at_hand()
    return cost_sections(state_of(model), mask, count_flops(model, images)) | {
        "checks": {
            "accuracy": told,
            "onnx": difference | {"images": len(images), "same_class": same},
        },
        "semi_structured": semi_structured.report(model, mask, images, gpu=gpu),
    }


def state_of(model: nn.Module) -> dict[str, np.ndarray]:
    """Every parameter and buffer, by timm's name."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def write_model(path: Path, model: nn.Module, section: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """The weights, for `timm.create_model(..., checkpoint_path=...)` and for `load_exported`."""
    write_tensors(path, state_of(model), kind=KIND, metadata={**section, "made": made})


def _outputs(model: nn.Module, pixels: np.ndarray, about: Mapping[str, Any], request: Request) -> np.ndarray:
    return extract_features(
        model,
        pixels,
        Preprocessing.read(about),
        batch_size=request.batch_size,
        device=request.device,
    )
