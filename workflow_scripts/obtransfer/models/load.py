"""From files to networks, strictly: an error names the first differences in names or shapes, and counts all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.artifacts import read_tensors
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build, build_empty
from obtransfer.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Backbone:
    """A loaded network and what goes with it.

    Attributes:
        model: images [B, 3, H, W] to features [B, D].
        preprocessing: how the images are made and normalised.
        prunable: names of the weights that may be removed, in the order of `model.named_parameters()`.
        name: architecture.pretraining.
        metadata: of its file.
    """

    model: nn.Module
    preprocessing: Preprocessing
    prunable: tuple[str, ...]
    name: str
    metadata: dict[str, Any]


def load_backbone(path: Path | str) -> Backbone:
    """A "backbone" artefact, its network in evaluation mode and all parameters with requires_grad.

    Args:
        path: the artefact.

    Raises:
        ObtransferError: unreadable, or its tensors are not those of its architecture.
    """
    import torch

    artifact = read_tensors(path, kind="backbone")
    tensors = {name: torch.from_numpy(array) for name, array in artifact.tensors.items()}
    metadata = artifact.metadata
    model = build_empty(metadata["architecture"])
    load_strictly(model, tensors, str(path), assign=True)
    if _has_meta(model):  # what no file of weights holds must be computed
        model = build(metadata["architecture"])
        load_strictly(model, tensors, str(path))
    preprocessing, prunable = Preprocessing.read(metadata), tuple(metadata["prunable"])
    return Backbone(model, preprocessing, prunable, metadata["backbone"], metadata)


def load_strictly(
    model: nn.Module, state_dict: Mapping[str, Tensor], what: str, *, assign: bool = False
) -> None:
    """Copy a state_dict into the network, in place.

    Half a checkpoint would leave random weights behind, so it is refused.

    Args:
        model: changed.
        state_dict: every parameter and buffer, with its exact shape.
        what: where the tensors come from, for errors.
        assign: use the tensors themselves instead of copying their values; for a network without values.

    Raises:
        ObtransferError: lists the first missing, unexpected and wrongly shaped tensors, and counts the others.
    """
    check_fits(model, state_dict, what)
    model.load_state_dict(dict(state_dict), strict=True, assign=assign)


def check_fits(model: nn.Module, state_dict: Mapping[str, Tensor], what: str) -> None:
    """Refuse a state_dict whose names or shapes are not the network's.

    Raises:
        ObtransferError: lists the first missing, unexpected and wrongly shaped tensors, and counts the others.
    """
    own = model.state_dict()
    problems = (
        [f"missing {name}" for name in own if name not in state_dict],
        [f"unexpected {name}" for name in state_dict if name not in own],
        [
            f"{name} has shape {list(value.shape)} instead of {list(own[name].shape)}"
            for name, value in state_dict.items()
            if name in own and value.shape != own[name].shape
        ],
    )
    if any(problems):
        raise ObtransferError(
            f"{what} does not fit {type(model).__name__}: {_first(problems)}; use the file of this architecture, or name "
            "the file's format"
        )


def _first(problems: Iterable[list[str]], most: int = 2) -> str:
    """The first problems of each kind, and how many more there are: missing, unexpected, of another shape."""
    kinds = ("missing", "unexpected", "of another shape")
    texts = []
    for kind, found in zip(kinds, problems, strict=True):
        texts += found[:most]
        texts += [f"{len(found) - most} more {kind}"] if len(found) > most else []
    return "; ".join(texts)


def _has_meta(model: nn.Module) -> bool:
    """Whether some tensor of the network, registered or not, still has no values."""
    import torch

    registered = [*model.parameters(), *model.buffers()]
    others = [value for module in model.modules() for value in vars(module).values()]
    return any(isinstance(value, torch.Tensor) and value.is_meta for value in [*registered, *others])
