"""A backbone, its mask and its BatchNorm statistics put together from their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from obtransfer.artifacts import map_tensors, read_tensors
from obtransfer.masks.mask import Mask

if TYPE_CHECKING:
    from obtransfer.models.load import Backbone


def load_pruned(weights: Path, mask: Path | None, recalibration: Path | None, *, device: str) -> Backbone:
    """The model of one node of the grid.

    Args:
        weights: "backbone" artefact, pre-trained or fine-tuned.
        mask: "mask" artefact to apply, or None.
        recalibration: "task" artefact whose calibration images (unlabelled) recalibrate BatchNorm, or None.
        device: where the model goes.

    Returns:
        The backbone in evaluation mode. Its metadata has `density`, the kept fraction of the prunable weights, and
        `collapsed_layers`, the number of layers without any.
    """
    import torch

    from obtransfer.data.pixels import select
    from obtransfer.evaluate.batchnorm import recalibrate_batchnorm
    from obtransfer.masks.apply import apply_mask
    from obtransfer.models.load import load_backbone

    backbone = load_backbone(weights)
    model, metadata = backbone.model, {"density": 1.0, "collapsed_layers": 0} | backbone.metadata
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    if mask:
        found = read_mask(mask)
        apply_mask(model, found)
        metadata |= {"density": found.density, "collapsed_layers": len(found.collapsed_layers())}
    model.to(device)
    if recalibration:
        pixels, _ = select(map_tensors(recalibration, kind="task"), "calibration")
        recalibrate_batchnorm(model, pixels, backbone.preprocessing)
    return replace(backbone, metadata=metadata)


def read_mask(path: Path) -> Mask:
    """A "mask" artefact, with its update if it has one.

    Raises:
        ObtransferError: missing or damaged.
    """
    return Mask.of(read_tensors(path, kind="mask"))
