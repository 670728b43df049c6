"""A backbone, its mask and its BatchNorm statistics put together from their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from obtransfer.artifacts import map_tensors, read_tensors

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from obtransfer.models.load import Backbone

UPDATE = "update:"
"""Before a layer's name in a mask's file: new values of the weights that stay."""


def load_pruned(weights: Path, mask: Path | None, recalibration: Path | None, *, device: str) -> Backbone:
    """The model of one node of the grid.

    Args:
        weights: "backbone" artefact, pre-trained or fine-tuned.
        mask: "mask" artefact to put on, or None.
        recalibration: "task" artefact whose calibration images (unlabelled) renew BatchNorm's statistics, or None.
        device: where the model goes.

    Returns:
        The backbone in evaluation mode. Its metadata has `density`, the kept fraction of the prunable weights, and
        `collapsed_layers`, the number of layers without any.
    """
    import torch

    from obtransfer.data.pixels import select
    from obtransfer.evaluate.batchnorm import recalibrate_batchnorm
    from obtransfer.masks.apply import apply_mask
    from obtransfer.masks.statistics import collapsed_layers
    from obtransfer.models.load import load_backbone

    backbone = load_backbone(weights)
    model, card = backbone.model, backbone.metadata
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    card.setdefault("density", 1.0)
    card.setdefault("collapsed_layers", 0)
    if mask:
        kept = read_mask(mask)
        apply_mask(model, kept)
        _update(model, mask)
        card["collapsed_layers"] = len(collapsed_layers(kept))
        card["density"] = sum(int(layer.sum()) for layer in kept.values()) / sum(
            k.size for k in kept.values()
        )
    if recalibration:
        pixels, _ = select(map_tensors(recalibration, kind="task"), "calibration")
        recalibrate_batchnorm(model, pixels, backbone.preprocessing, device=device)
    return replace(backbone, model=model.to(device))


def read_mask(path: Path) -> dict[str, np.ndarray]:
    """Name to bool array, True = keep."""
    from obtransfer.masks.packing import unpack

    packed = read_tensors(path, kind="mask")
    shapes = packed.metadata["shapes"]
    return unpack({name: packed.tensors[name] for name in shapes}, shapes)


def _update(model: nn.Module, mask: Path) -> None:
    """Set the surviving weights to the values that come with the mask, if any do."""
    import torch

    with torch.no_grad():
        for name, array in read_tensors(mask, kind="mask").tensors.items():
            if name.startswith(UPDATE):
                model.get_parameter(name.removeprefix(UPDATE)).copy_(torch.from_numpy(array))
