"""From a pruned backbone to the network and mask that are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from obtransfer.artifacts import Artifact, write_tensors
from obtransfer.dag.paths import Form
from obtransfer.data.pixels import select
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.accuracy import score_logits
from obtransfer.evaluate.features import extract_features
from obtransfer.export.card import ModelSection
from obtransfer.export.load import KIND, fold_head
from obtransfer.heads.ridge import RidgeHead, fit_ridge
from obtransfer.masks.mask import Mask
from obtransfer.models.load import Backbone
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.models.prunable import prunable_parameters


@dataclass(frozen=True)
class Request:
    """What is exported, and how images are read.

    Attributes:
        form: features, or the logits of a task by its frozen or its re-fitted head.
        alpha: ridge penalty of a probe.
        batch_size: images per forward pass, for speed and memory only.
        threads: processor threads of ONNX Runtime.
    """

    form: Form
    alpha: float
    batch_size: int
    threads: int

    @property
    def head(self) -> str:
        """The head by which the model is scored: "probe" or "zero_shot"; features go through the frozen head."""
        return "probe" if self.form.kind == "probe" else "zero_shot"

    @property
    def returns_features(self) -> bool:
        """Whether the model has no classifier."""
        return self.form.kind == "features"


@dataclass(frozen=True)
class Finished:
    """A network as it is written, on the CPU, and what it was scored on.

    Attributes:
        model: images to features, or to logits.
        preprocessing: of its images.
        mask: of every prunable layer, in the network's order.
        head: the head that was folded in, or through which features were scored.
        task: the name of the task.
        pixels: uint8 [N, S, S, 3], the task's test images.
        accuracy: on these images, in [0, 1].
    """

    model: nn.Module
    preprocessing: Preprocessing
    mask: Mask
    head: RidgeHead
    task: str
    pixels: npt.NDArray[np.uint8]
    accuracy: float

    def state(self) -> dict[str, np.ndarray]:
        """Every parameter and buffer, by timm's name."""
        return {name: tensor.detach().numpy() for name, tensor in self.model.state_dict().items()}


def finish(
    backbone: Backbone, mask: Mask | None, task: Artifact, head: RidgeHead, request: Request
) -> Finished:
    """Give the backbone's network its classifier, in place, if one is asked for, and score it on the task's test images.

    Args:
        backbone: pruned; its model is moved to the CPU.
        mask: that was put on; None where nothing is removed.
        task: of the probe, or the one that the model is checked on.
        head: the dense backbone's, frozen.
        request: what to make.

    Raises:
        ObtransferError: the mask has other layers than the network, or the head does not fit the network.
    """
    model = backbone.model
    mask = _complete(mask, model)
    if request.head == "probe":
        pixels, labels = select(task, "train")
        head = fit_ridge(_outputs(backbone, pixels, request), labels, head.num_classes, request.alpha)
    if not request.returns_features:
        fold_head(model, head)
    pixels, labels = select(task, "test")
    found = _outputs(backbone, pixels, request)
    accuracy = score_logits(head.logits(found) if request.returns_features else found, labels).accuracy
    return Finished(model.cpu(), backbone.preprocessing, mask, head, task.metadata["task"], pixels, accuracy)


def write_model(path: Path, finished: Finished, section: ModelSection, made: Mapping[str, Any]) -> None:
    """The weights, for `timm.create_model(..., checkpoint_path=...)` and for `load_exported`."""
    write_tensors(path, finished.state(), kind=KIND, metadata={**section, "made": made})


def write_mask(path: Path, mask: Mask, made: Mapping[str, Any]) -> None:
    """Like the workflow's other masks."""
    metadata = {
        "num_weights": mask.num_weights,
        "num_removed": mask.num_removed,
        "density_by_layer": mask.density_by_layer(),
        "shapes": mask.shapes(),
        "made": made,
    }
    write_tensors(path, mask.tensors(), kind="mask", metadata=metadata)


def _complete(mask: Mask | None, model: nn.Module) -> Mask:
    """The mask with its layers in the network's order, without its update, which is in the weights.

    For None, a mask that removes nothing.
    """
    names = prunable_parameters(model)
    if mask is None:
        return Mask({name: np.ones(model.get_parameter(name).shape, dtype=bool) for name in names})
    if {*mask.kept} != {*names}:
        raise ObtransferError(
            f"a mask needs the {len(names)} prunable layers of the model; got one that differs in "
            f"{', '.join(sorted({*mask.kept} ^ {*names}))}; use a mask of this backbone"
        )
    return Mask({name: mask.kept[name] for name in names})


def _outputs(backbone: Backbone, pixels: np.ndarray, request: Request) -> npt.NDArray[np.float32]:
    return extract_features(backbone.model, pixels, backbone.preprocessing, batch_size=request.batch_size)
