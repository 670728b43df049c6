"""From a state_dict to a "backbone" artefact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.artifacts import check_finite, write_tensors
from obtransfer.models.build import build_empty, num_features
from obtransfer.models.load import check_fits
from obtransfer.models.prunable import prunable_parameters

if TYPE_CHECKING:
    from torch import Tensor


def save_backbone(
    path: Path,
    state_dict: Mapping[str, Tensor],
    *,
    backbone: str,
    entry: Mapping[str, Any],
    made: Mapping[str, Any],
    checkpoint: Mapping[str, Any] | None = None,
) -> None:
    """Check converted weights against their architecture and write them with what later steps need to know.

    Args:
        path: the artefact.
        state_dict: every parameter and buffer of the architecture, no other.
        backbone: ``architecture.pretraining``.
        entry: as `obtransfer.config.backbones.backbone` gives it, for the architecture and the pixels.
        made: provenance.
        checkpoint: which file the weights are from.

    Raises:
        ObtransferError: keys or shapes differ from the architecture's, or a weight is not finite.
    """
    first, pretraining = backbone.split(".")
    architecture = entry.get("architecture") or first
    model = build_empty(architecture)
    check_fits(model, state_dict, f"the checkpoint of {backbone} ({entry['address']})")
    own = model.state_dict()
    tensors = {name: state_dict[name].to(dtype=own[name].dtype, device="cpu").numpy() for name in own}
    check_finite(tensors, f"weights of {backbone} ({entry['address']})")
    metadata = {
        "backbone": backbone,
        "architecture": architecture,
        "pretraining": pretraining,
        "prunable": prunable_parameters(model),
        "num_features": num_features(model),
        "mean": entry["mean"],
        "std": entry["std"],
        "input_size": entry["input_size"],
        "crop": entry["crop"],
        "interpolation": entry["interpolation"],
        "checkpoint": dict(checkpoint or {}),
        "made": made,
    }
    write_tensors(path, tensors, kind="backbone", metadata=metadata)
