"""From files to networks; strictly: every difference in names or shapes is an error that lists it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.artifacts import read_tensors
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_backbone(path: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """Network and metadata of a "backbone" artefact.

    Args:
        path: the artefact.

    Returns:
        The network in evaluation mode, all parameters with requires_grad, and the artefact's metadata.

    Raises:
        ObtransferError: unreadable, or its tensors are not those of its architecture.
    """
    import torch

    artifact = read_tensors(path, kind="backbone")
    model = build(artifact.metadata["architecture"])
    tensors = {name: torch.from_numpy(array) for name, array in artifact.tensors.items()}
    load_strictly(model, tensors, str(path))
    return model, artifact.metadata


def load_strictly(model: nn.Module, state_dict: Mapping[str, Tensor], what: str) -> None:
    """Copies a state_dict into the network, in place.

    A checkpoint that half fits would leave random weights behind; this refuses it.

    Args:
        model: changed.
        state_dict: every parameter and buffer, with its exact shape.
        what: named in errors.

    Raises:
        ObtransferError: lists all missing, unexpected and wrongly shaped tensors.
    """
    own = model.state_dict()
    problems = [f"missing {name}" for name in own if name not in state_dict]
    problems += [f"unexpected {name}" for name in state_dict if name not in own]
    problems += [
        f"{name} has shape {list(value.shape)} instead of {list(own[name].shape)}"
        for name, value in state_dict.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        raise ObtransferError(
            f"{what} does not fit {type(model).__name__}: {'; '.join(problems)}. "
            f"Use the file of this architecture, or mend the conversion of its source in obtransfer/models"
        )
    model.load_state_dict(dict(state_dict), strict=True)
