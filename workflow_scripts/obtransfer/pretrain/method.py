"""What the training loop needs of a pre-training method."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn


class Method(nn.Module, ABC):
    """A backbone with the heads and copies that its training needs.

    Attributes:
        backbone: the network that is published.
        num_views: how many renderings of every sampled glyph `loss` reads.
        by_class: whether classes are sampled uniformly; otherwise identities.
    """

    backbone: nn.Module
    num_views: int
    by_class: bool = False

    @abstractmethod
    def loss(self, views: list[Tensor], labels: Tensor, generator: torch.Generator) -> Tensor:
        """Scalar loss of one batch.

        Args:
            views: `num_views` batches [B, 3, 32, 32]; row b of all shows the same glyph in the same font.
            labels: int64 [B]; self-supervised methods must not read them.
            generator: for further random augmentation.
        """

    def before_step(self, progress: float) -> None:
        """Called between the backward pass and the optimiser's step; `progress` in [0, 1)."""

    def after_step(self, progress: float) -> None:
        """Called after the optimiser's step; `progress` in [0, 1) is the part of the training done before it."""

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters that the optimiser changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy without gradients: the start of a moving average."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def move_average(average: nn.Module, source: nn.Module, momentum: float) -> None:
    """average ← momentum · average + (1 − momentum) · source, for parameters; in place.

    Buffers (the statistics of BatchNorm) are each network's own.
    """
    pairs = zip(average.parameters(), source.parameters(), strict=True)
    for mean, value in pairs:
        mean.lerp_(value, 1.0 - momentum)


def mlp(sizes: Iterable[int], *, batchnorm: bool = False) -> nn.Sequential:
    """Linear layers with GELU between them, and with `batchnorm` BatchNorm before every GELU."""
    widths = list(sizes)
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        layers.append(nn.Linear(fan_in, fan_out, bias=last or not batchnorm))
        if not last:
            layers += [nn.BatchNorm1d(fan_out)] if batchnorm else []
            layers.append(nn.GELU())
    return nn.Sequential(*layers)
