"""A ridge head folded into its backbone: from images to logits in one network, with timm's key names."""

from __future__ import annotations

import torch
from torch import nn

from obtransfer.errors import ObtransferError
from obtransfer.heads.ridge import RidgeHead
from obtransfer.models.build import num_features


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
            f"a head is folded into a classifier that is one linear layer of the {width} features, but that of "
            f"{name} is {type(classifier).__name__}; export this model as `features`, and keep the head beside it"
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
            f"the head reads {head.weight.shape[1]} features, the network has {classifier.in_features}: is it another's?"
        )
    model.to(device)
    classifier.weight.copy_(torch.from_numpy(head.weight))
    classifier.bias.copy_(torch.from_numpy(head.bias))
