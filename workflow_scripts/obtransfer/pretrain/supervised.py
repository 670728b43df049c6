"""Supervised pre-training: cross-entropy over the hundred glyphs of the ten tasks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obtransfer.pretrain.method import Method


class Supervised(Method):
    """A linear classifier on the features; loss = cross-entropy with label smoothing.

    Args:
        backbone: features [B, D].
        num_features: D.
        num_classes: classes of the pool.
        label_smoothing: in [0, 1).
    """

    num_views = 1
    by_class = True

    def __init__(
        self, backbone: nn.Module, num_features: int, *, num_classes: int = 100, label_smoothing: float = 0.1
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(num_features, num_classes)
        self.label_smoothing = label_smoothing

    def loss(self, views: list[Tensor], labels: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy, mean over the batch."""
        logits = self.classifier(self.backbone(views[0]))
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
