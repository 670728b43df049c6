"""What is checked before a model is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from obtransfer.data.pixels import to_batch
from obtransfer.errors import ObtransferError
from obtransfer.export.card import AccuracyCheck, OnnxCheck, TaskAccuracies, accuracy_of
from obtransfer.export.finish import Finished, Request
from obtransfer.export.onnx_file import run_onnx, write_onnx
from obtransfer.heads.ridge import RidgeHead
from obtransfer.masks.mask import Mask
from obtransfer.models.contexts import evaluation_mode

MAX_IMAGES = 64
"""Test images that are compared between PyTorch and ONNX."""
TOLERANCE = 1e-4
"""Of the largest difference, in units of the largest output or 1. Float32 sums in another order give 2e-6."""
Float32Array = npt.NDArray[np.float32]


def check_removed(state: Mapping[str, np.ndarray], mask: Mask) -> None:
    """Removed weights are zero.

    Raises:
        ObtransferError: names the layers in which some are not, and how many.
    """
    revived = {name: int(np.count_nonzero(state[name][~kept])) for name, kept in mask.kept.items()}
    named = [f"{name}: {count}" for name, count in revived.items() if count]
    if named:
        raise ObtransferError(
            "weights that the mask removes must be zero in the exported model; got weights that are not in "
            f"{'; '.join(named)}; use weights and mask of the same model"
        )


def check_accuracy(finished: Finished, rows: Sequence[TaskAccuracies], request: Request) -> AccuracyCheck:
    """The finished weights have the accuracy of their evaluation, up to two images or 0.01 (reduced precision).

    Raises:
        ObtransferError: they have not, so these are not the weights that were evaluated.
    """
    measured, number = finished.accuracy, len(finished.pixels)
    evaluated = accuracy_of(rows, finished.task, request.head)
    if evaluated is not None and abs(measured - evaluated) > max(2.001 / number, 0.01):
        raise ObtransferError(
            f"the exported model needs the evaluation's accuracy on {number} test images, {evaluated:.4f}; got "
            f"{measured:.4f}; these are not the weights that were evaluated, so evaluate them again"
        )
    return {
        "task": finished.task,
        "head": request.head,
        "images": number,
        "measured": measured,
        "evaluated": evaluated,
    }


def check_onnx(finished: Finished, request: Request, path: Path) -> OnnxCheck:
    """Write the network as ONNX to `path`, and compare ONNX Runtime's outputs with PyTorch's.

    Raises:
        ObtransferError: they differ by more than `TOLERANCE`.
    """
    images = compared_images(finished)
    write_onnx(finished.model, path, finished.preprocessing.input_size)
    expected = outputs(finished.model, images)
    found = run_onnx(path, images.numpy(), threads=request.threads)
    same = same_choices(found, expected, finished.head if request.returns_features else None)
    return compare(found, expected, same_class=same)


def compare(onnx: Float32Array, torch_: Float32Array, *, same_class: int = 0) -> OnnxCheck:
    """The largest difference, the largest output, and the tolerance in the outputs' unit.

    Raises:
        ObtransferError: the difference is beyond the tolerance, or not a number.
    """
    difference, largest = float(np.abs(onnx - torch_).max()), float(np.abs(torch_).max())
    allowed = TOLERANCE * max(1.0, largest)
    if not difference <= allowed:
        raise ObtransferError(
            f"the ONNX file needs the outputs of PyTorch up to {allowed:.3g}; got differences up to {difference:.3g}; an "
            "operator of this architecture is exported wrongly, or its features are not finite"
        )
    return {
        "max_abs_difference": difference,
        "max_abs_output": largest,
        "tolerance": allowed,
        "images": len(onnx),
        "same_class": same_class,
    }


def compared_images(finished: Finished) -> torch.Tensor:
    """Some test images as the network reads them, [n, 3, S, S], channels first in memory as ONNX needs it."""
    return to_batch(spread(finished.pixels), finished.preprocessing).contiguous()


def spread(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """At most `MAX_IMAGES` of the images, evenly spaced, so that every class has some."""
    chosen = np.linspace(0, len(pixels) - 1, min(MAX_IMAGES, len(pixels))).round().astype(int)
    return np.ascontiguousarray(pixels[chosen])


def outputs(model: nn.Module, images: torch.Tensor, batch_size: int = 16) -> Float32Array:
    """PyTorch's outputs, on the device where model and images are."""
    with evaluation_mode(model), torch.inference_mode():
        return torch.cat([model(batch) for batch in images.split(batch_size)]).float().cpu().numpy()


def same_choices(left: np.ndarray, right: np.ndarray, head: RidgeHead | None) -> int:
    """For how many images both outputs have the same largest logit; `head` turns features into logits."""
    logits = [head.logits(values) if head else values for values in (left, right)]
    return int(np.count_nonzero(logits[0].argmax(axis=1) == logits[1].argmax(axis=1)))
