"""From a state_dict to a "backbone" artefact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.artifacts import check_finite, write_tensors
from obtransfer.models.build import build
from obtransfer.models.load import load_strictly
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
) -> None:
    """Check converted weights against their architecture and write them with what later steps need to know.

    Args:
        path: the artefact.
        state_dict: every parameter and buffer of the architecture, no other.
        backbone: ``architecture.pretraining``.
        entry: the registry's, for the normalisation of pixels and the input size.
        made: provenance.

    Raises:
        ObtransferError: keys or shapes differ from the architecture's, or a weight is not finite.
    """
    architecture, pretraining = backbone.split(".")
    model = build(architecture)
    load_strictly(model, state_dict, f"the checkpoint of {backbone} ({entry['address']})")
    tensors = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    check_finite(tensors, f"weights of {backbone} ({entry['address']})")
    metadata = {
        "backbone": backbone,
        "architecture": architecture,
        "pretraining": pretraining,
        "prunable": prunable_parameters(model),
        "num_features": model.num_features,
        "mean": entry["mean"],
        "std": entry["std"],
        "input_size": entry["input_size"],
        "made": made,
    }
    write_tensors(path, tensors, kind="backbone", metadata=metadata)
