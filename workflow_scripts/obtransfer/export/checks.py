"""What is checked before a model is handed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from obtransfer.data.pixels import to_batch
from obtransfer.errors import ObtransferError
from obtransfer.heads.ridge import RidgeHead
from obtransfer.models.contexts import evaluation_mode
from obtransfer.models.preprocessing import Preprocessing

MAX_IMAGES = 64
"""Test images that are compared between PyTorch and ONNX."""


def check_removed(state: Mapping[str, np.ndarray], mask: Mapping[str, np.ndarray]) -> None:
    """Removed weights are zero.

    Raises:
        ObtransferError: names the layers in which some are not, and how many.
    """
    revived = {name: int(np.count_nonzero(state[name][~kept])) for name, kept in mask.items()}
    named = [f"{name}: {count}" for name, count in revived.items() if count]
    if named:
        raise ObtransferError(
            f"weights that the mask removes must be zero in the exported model, but some are not in {'; '.join(named)}: "
            "are weights and mask of the same model?"
        )


def check_accuracy(measured: float, evaluated: float | None, num_images: int) -> None:
    """The exported weights score what the evaluation says, up to two images or one per cent (of reduced precision).

    Raises:
        ObtransferError: they don't; so these are not the weights that were evaluated.
    """
    if evaluated is not None and abs(measured - evaluated) > max(2.001 / num_images, 0.01):
        raise ObtransferError(
            f"the exported model's accuracy on {num_images} test images is {measured:.4f}, but the evaluation's is "
            f"{evaluated:.4f}; these are not the weights that were evaluated"
        )


def spread(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """At most `MAX_IMAGES` of the images, evenly spaced, so that every class has some."""
    chosen = np.linspace(0, len(pixels) - 1, min(MAX_IMAGES, len(pixels))).round().astype(int)
    return np.ascontiguousarray(pixels[chosen])


def outputs(model: nn.Module, images: torch.Tensor, batch_size: int = 16) -> npt.NDArray[np.float32]:
    """PyTorch's, on the device where model and images are."""
    with evaluation_mode(model), torch.inference_mode():
        return torch.cat([model(batch) for batch in images.split(batch_size)]).float().cpu().numpy()


def same_choices(left: np.ndarray, right: np.ndarray, head: RidgeHead | None) -> int:
    """For how many images both outputs have the same largest logit; `head` makes logits of features."""
    logits = [head.logits(values) if head else values for values in (left, right)]
    return int(np.count_nonzero(logits[0].argmax(axis=1) == logits[1].argmax(axis=1)))


def images_of(pixels: npt.NDArray[np.uint8], about: Mapping[str, Any]) -> torch.Tensor:
    """The compared images as the network reads them, [n, 3, S, S], channels first in memory as ONNX wants it."""
    return to_batch(spread(pixels), Preprocessing.read(about)).contiguous()
