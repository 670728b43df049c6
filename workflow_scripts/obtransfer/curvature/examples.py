"""A model with its head, and the examples whose mean a statistic is: what every estimator works with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from obtransfer.curvature.losses import Loss
from obtransfer.errors import ObtransferError


class Head(NamedTuple):
    """A frozen linear classifier, logits = features Wᵀ + b, W [K, D] and b [K]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Examples:
    """What an estimator works with.

    Attributes:
        model: images [B, 3, H, W] -> features [B, D], or logits where there is no head; left bit-identical.
        head: None for the identity.
        batches: (images, labels [B]) or (images, labels, indices [B]); moved to the model's device.
        loss: ℓ(f, y).
        parameters: names of Conv2d and Linear weights; None for all of them.
        dtype: accumulate in this, float32 or the parameter's, whichever is most precise.
        progress: called after each batch with the number of examples done so far.
    """

    model: nn.Module
    head: Head | None
    batches: Iterable[Sequence[Tensor]]
    loss: Loss
    parameters: Sequence[str] | None = None
    dtype: torch.dtype = torch.float32
    progress: Callable[[int], None] = lambda done: None

    def head_of(self, features: Tensor) -> Head:
        """The head, detached, in the dtype of the features [B, D] and on their device.

        Raises:
            ObtransferError: shapes that do not fit.
        """
        if self.head is None:
            classes = features.shape[-1]
            weight, bias = features.new_ones(classes).diag(), features.new_zeros(classes)
        else:
            weight, bias = self.head.weight.detach(), self.head.bias.detach()
        fits = features.dim() == 2 and weight.dim() == 2 and features.shape[1] == weight.shape[1]
        if not fits or bias.shape != weight.shape[:1]:
            raise ObtransferError(
                "curvature needs features [B, D], a head weight [K, D] and bias [K]; got features "
                f"{tuple(features.shape)}, weight {tuple(weight.shape)}, bias {tuple(bias.shape)}; "
                "use the head that was fitted on this backbone"
            )
        return Head(weight.to(features.device, features.dtype), bias.to(features.device, features.dtype))


def accumulation_dtype(dtype: torch.dtype, weights: Mapping[str, Tensor]) -> torch.dtype:
    """The most precise of `dtype`, float32 and the weights' own."""
    for other in (torch.float32, *(weight.dtype for weight in weights.values())):
        dtype = torch.promote_types(dtype, other)
    return dtype


def check_features(features: object) -> Tensor:
    """What the model's forward has returned.

    Raises:
        ObtransferError: no features that depend on the weights.
    """
    if not isinstance(features, Tensor) or not features.requires_grad:
        raise ObtransferError(
            "curvature needs a forward that returns features [B, D] which depend on the weights; got "
            f"{'a tensor without gradient' if isinstance(features, Tensor) else type(features).__name__}"
        )
    return features
