"""MoCo v2: momentum contrast with a queue of keys and an MLP head.

Chen, Fan, Girshick, He, *Improved Baselines with Momentum Contrastive Learning*, 2020 (arXiv 2003.04297); He et al.,
*Momentum Contrast for Unsupervised Visual Representation Learning*, 2020, Algorithm 1.

The augmentation differs from the paper's: the two views are two *renderings* of the same glyph in the same font. They
differ more than crops and colours of one image do.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obtransfer.pretrain.method import Method, frozen_copy, mlp, move_average


class MoCoV2(Method):
    """InfoNCE between a query and its key, against the queue:

    −log( exp(q·k₊/T) / (exp(q·k₊/T) + Σ_{k in queue} exp(q·k/T)) ), mean over the batch, q and k of unit length.

    The key encoder is the moving average of the query encoder and has no gradient. After the loss, the batch's keys
    replace the oldest of the queue.

    Args:
        backbone: features [B, D].
        num_features: D.
        dimension: length of queries and keys.
        hidden: width of the MLP heads.
        queue_size: K keys; need not be a multiple of the batch size.
        temperature: T.
        momentum: m of the moving average.
        batchnorm: BatchNorm in the MLP heads.
    """

    num_views = 2

    def __init__(
        self,
        backbone: nn.Module,
        num_features: int,
        *,
        dimension: int = 64,
        hidden: int = 256,
        queue_size: int = 4096,
        temperature: float = 0.2,
        momentum: float = 0.98,
        batchnorm: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = mlp((num_features, hidden, dimension), batchnorm=batchnorm)
        self.key_backbone = frozen_copy(backbone)
        self.key_head = frozen_copy(self.head)
        self.temperature, self.momentum = temperature, momentum
        self.queue: Tensor
        self.position: Tensor
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, dimension), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def loss(self, views: list[Tensor], labels: Tensor, generator: torch.Generator) -> Tensor:
        """InfoNCE of the first view against the second; adds the keys to the queue as well."""
        queries = F.normalize(self.head(self.backbone(views[0])), dim=1)
        with torch.no_grad():
            keys = F.normalize(self.key_head(self.key_backbone(views[1])), dim=1)
        positive = (queries * keys).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, queries @ self.queue.clone().T], dim=1) / self.temperature
        self.enqueue(keys)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys of the queue by `keys` [B, dimension], B ≤ K, wrapping around its end."""
        places = (self.position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.position.add_(len(keys)).remainder_(len(self.queue))

    def after_step(self, progress: float) -> None:
        """Move the key encoder towards the query encoder."""
        move_average(self.key_backbone, self.backbone, self.momentum)
        move_average(self.key_head, self.head, self.momentum)
