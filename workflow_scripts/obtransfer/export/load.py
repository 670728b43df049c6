"""The classifier of an exported model, and the model back from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from obtransfer.artifacts import read_tensors
from obtransfer.errors import ObtransferError
from obtransfer.heads.ridge import RidgeHead
from obtransfer.models.build import build, num_features
from obtransfer.models.load import load_strictly

if TYPE_CHECKING:
    from obtransfer.export.card import Card

KIND = "exported"


def load_exported(folder: Path | str) -> tuple[nn.Module, Card]:
    """The network of ``folder/model.safetensors`` in evaluation mode, and the card.

    For the architectures of timm, ``timm.create_model(name, num_classes=..., checkpoint_path=...)`` does the same. This
    function also knows the project's small architectures, and verifies the file's checksum.

    Raises:
        ObtransferError: a missing or damaged file, or tensors that are not the architecture's.
    """
    path = Path(folder, "model.safetensors")
    artifact = read_tensors(path, kind=KIND)
    card: Card = json.loads(Path(folder, "card.json").read_text(encoding="utf-8"))
    model = build(artifact.metadata["architecture"])
    if artifact.metadata["num_classes"]:
        new_classifier(model, artifact.metadata["num_classes"])
    load_strictly(
        model, {name: torch.from_numpy(array) for name, array in artifact.tensors.items()}, str(path)
    )
    return model, card


def new_classifier(model: nn.Module, num_classes: int) -> nn.Linear:
    """Put timm's own classifier, with random weights, on a network that was built without one, in place.

    Returns:
        The classifier.

    Raises:
        ObtransferError: the architecture's classifier is not one linear layer of the features.
    """
    name, width = type(model).__name__, num_features(model)
    model.reset_classifier(num_classes)  # type: ignore[operator]  # every timm model has it
    classifier = model.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear) or classifier.in_features != width:
        raise ObtransferError(
            f"a head needs a classifier that is one linear layer of the {width} features; got {type(classifier).__name__} "
            f"in {name}; export this model as `features`, and keep the head beside it"
        )
    model.eval()
    return classifier


@torch.no_grad()
def fold_head(model: nn.Module, head: RidgeHead) -> None:
    """Make the head the network's classifier, in place; float32, as the network.

    Raises:
        ObtransferError: as `new_classifier`, or a head for another number of features.
    """
    device = next(model.parameters()).device
    classifier = new_classifier(model, head.num_classes)
    if head.weight.shape[1] != classifier.in_features:
        raise ObtransferError(
            f"the head must read the network's {classifier.in_features} features; got a head for {head.weight.shape[1]}; "
            "use the head of the same backbone"
        )
    model.to(device)
    classifier.weight.copy_(torch.from_numpy(head.weight))
    classifier.bias.copy_(torch.from_numpy(head.bias))
