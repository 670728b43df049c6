"""From a state_dict to a "backbone" artefact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.artifacts import check_finite, write_tensors
from obtransfer.models.build import build_empty, num_features
from obtransfer.models.load import check_fits
from obtransfer.models.prunable import prunable_parameters

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.models.known import PublishedWeights


def save_backbone(
    path: Path,
    state_dict: Mapping[str, Tensor],
    *,
    name: str,
    weights: PublishedWeights,
    made: Mapping[str, Any],
    checkpoint: Mapping[str, str],
) -> None:
    """Check converted weights against their architecture and write them with what later steps need to know.

    Args:
        path: the artefact.
        state_dict: every parameter and buffer of the architecture, no other.
        name: ``architecture.pretraining``.
        weights: for the architecture and the preprocessing.
        made: provenance.
        checkpoint: name and checksum of the file that the weights are from.

    Raises:
        ObtransferError: keys or shapes differ from the architecture's, or a weight is not finite.
    """
    model = build_empty(weights.architecture)
    check_fits(model, state_dict, f"the checkpoint of {name} ({weights.address})")
    own = model.state_dict()
    tensors = {key: state_dict[key].to(dtype=own[key].dtype, device="cpu").numpy() for key in own}
    check_finite(tensors, f"weights of {name} ({weights.address})")
    metadata = {
        "backbone": name,
        "architecture": weights.architecture,
        "pretraining": name.partition(".")[2],
        "prunable": prunable_parameters(model),
        "num_features": num_features(model),
        **asdict(weights.preprocessing),
        "checkpoint": checkpoint,
        "made": made,
    }
    write_tensors(path, tensors, kind="backbone", metadata=metadata)
