"""All that a fine-tuning run depends on, as one value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from obtransfer.errors import ObtransferError
from obtransfer.heads.ridge import RidgeHead
from obtransfer.masks.mask import Mask
from obtransfer.models.load import Backbone
from obtransfer.settings import FinetuneSettings, Precision


@dataclass(frozen=True)
class TrainingRun:
    """What is trained, on what and how.

    Attributes:
        backbone: on the device that computes; its weights are trained in place.
        head: frozen.
        pixels: [N, H, W, 3] uint8, the train split.
        labels: [N] integers in 0 … K - 1.
        settings: of the optimiser.
        seed: of shuffling, augmentation and dropout; >= 0.
        mask: of every prunable parameter; None trains all weights (the dense control).
        precision: of forward and backward passes on a GPU; a CPU computes in float32.
    """

    backbone: Backbone
    head: RidgeHead
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    settings: FinetuneSettings
    seed: int
    mask: Mask | None = None
    precision: Precision = "float32"

    @property
    def model(self) -> nn.Module:
        """The backbone's network."""
        return self.backbone.model

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch; the last may have fewer images."""
        return -(-len(self.labels) // self.settings.batch_size)

    def uses_batch_statistics(self) -> bool:
        """Whether some layer normalises with the batch."""
        trained = self.settings.batchnorm == "trained"
        return trained and any(isinstance(module, _BatchNorm) for module in self.model.modules())

    def check(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ObtransferError: shapes of head, pixels or labels; labels without a class; a batch of one image whose
                variance, 0, would enter BatchNorm's statistics.
        """
        weight, bias, labels = self.head.weight, self.head.bias, self.labels
        if weight.ndim != 2 or bias.ndim != 1 or len(weight) != len(bias):
            raise ObtransferError(
                f"a head must have weight [K, D] and bias [K]; got {list(weight.shape)} and {list(bias.shape)}"
            )
        if labels.ndim != 1 or len(labels) != len(self.pixels) or len(labels) == 0:
            raise ObtransferError(
                "fine-tuning needs pixels [N, H, W, 3] and labels [N] with N > 0; got "
                f"{list(self.pixels.shape)} and {list(labels.shape)}"
            )
        if labels.min() < 0 or labels.max() >= len(bias):
            raise ObtransferError(
                f"labels must lie in 0 … {len(bias) - 1}; got {labels.min()} … {labels.max()}; use the head of this task"
            )
        size = self.settings.batch_size
        if 1 in (size, len(labels) % size, len(labels)) and self.uses_batch_statistics():
            raise ObtransferError(
                f"batchnorm: trained needs two images or more in every batch; got one, of {len(labels)} images in batches "
                f"of {size}; change batch_size, or use batchnorm: frozen"
            )
