"""From files to networks; strictly: every difference in names or shapes is an error that lists it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.artifacts import read_tensors
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build, build_empty

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
    tensors = {name: torch.from_numpy(array) for name, array in artifact.tensors.items()}
    model = build_empty(artifact.metadata["architecture"])
    load_strictly(model, tensors, str(path), assign=True)
    if _has_meta(model):  # what no file of weights holds must be computed
        model = build(artifact.metadata["architecture"])
        load_strictly(model, tensors, str(path))
    return model, artifact.metadata


def load_strictly(
    model: nn.Module, state_dict: Mapping[str, Tensor], what: str, *, assign: bool = False
) -> None:
    """Copies a state_dict into the network, in place.

    A checkpoint that half fits would leave random weights behind; this refuses it.

    Args:
        model: changed.
        state_dict: every parameter and buffer, with its exact shape.
        what: named in errors.
        assign: take the tensors themselves instead of copying their values; for a network without values.

    Raises:
        ObtransferError: lists all missing, unexpected and wrongly shaped tensors.
    """
    check_fits(model, state_dict, what)
    model.load_state_dict(dict(state_dict), strict=True, assign=assign)


def check_fits(model: nn.Module, state_dict: Mapping[str, Tensor], what: str) -> None:
    """Refuses a state_dict whose names or shapes are not the network's.

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


def _has_meta(model: nn.Module) -> bool:
    """Whether some tensor of the network, registered or not, still has no values."""
    import torch

    registered = [*model.parameters(), *model.buffers()]
    others = [value for module in model.modules() for value in vars(module).values()]
    return any(isinstance(value, torch.Tensor) and value.is_meta for value in [*registered, *others])
