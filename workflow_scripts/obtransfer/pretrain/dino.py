"""DINO: self-distillation with no labels, with multi-crop.

Caron et al., *Emerging Properties in Self-Supervised Vision Transformers*, 2021 (arXiv 2104.14294), Algorithm 1.

The augmentation differs from the paper's: the two global views are two *renderings* of the same glyph in the same font.
They differ more than crops and colours of one image do. Local crops are cut from them.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obtransfer.pretrain.method import Method, frozen_copy, mlp, move_average


class Prototypes(nn.Module):
    """MLP, unit length, then a linear layer whose rows are weight-normalised to length one: [B, D] to [B, P]."""

    def __init__(
        self, num_features: int, hidden: int, bottleneck: int, prototypes: int, *, batchnorm: bool
    ) -> None:
        super().__init__()
        self.mlp = mlp((num_features, hidden, bottleneck), batchnorm=batchnorm)
        self.directions = nn.Parameter(torch.randn(prototypes, bottleneck) / math.sqrt(bottleneck))

    def forward(self, features: Tensor) -> Tensor:
        """Cosines between the bottleneck and the prototypes, in [−1, 1]."""
        return F.linear(F.normalize(self.mlp(features), dim=1), F.normalize(self.directions, dim=1))


class Dino(Method):
    """Cross-entropy from the centred and sharpened teacher on global views to the student on all *other* views.

    −Σ_p softmax((t − c)/T_t)_p log softmax(s/T_s)_p, mean over pairs of different views and over the batch. The teacher
    is the moving average of the student, with a momentum that rises from `momentum` to 1 along a cosine, and has no
    gradient. The centre is the moving average of its outputs. Local crops pass through the student only.

    Args:
        backbone: features [B, D]; must accept local crops (`local_size` pixels) too.
        num_features: D.
        prototypes: P outputs.
        hidden: width of the MLP.
        bottleneck: dimension of the unit vectors.
        student_temperature: T_s.
        teacher_temperature: T_t.
        momentum: first momentum of the teacher.
        centre_momentum: of the centre.
        local_crops: local crops per sample.
        local_size: their size in pixels.
        local_part: smallest and largest side of a local crop, as part of the image.
        frozen_steps_part: the first part of the training, in which the prototypes' directions do not move.
        batchnorm: BatchNorm in the MLPs.
    """

    num_views = 2

    def __init__(
        self,
        backbone: nn.Module,
        num_features: int,
        *,
        prototypes: int = 512,
        hidden: int = 256,
        bottleneck: int = 64,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        momentum: float = 0.98,
        centre_momentum: float = 0.9,
        local_crops: int = 2,
        local_size: int = 16,
        local_part: tuple[float, float] = (0.5, 0.75),
        frozen_steps_part: float = 0.02,
        batchnorm: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = Prototypes(num_features, hidden, bottleneck, prototypes, batchnorm=batchnorm)
        self.teacher_backbone = frozen_copy(backbone)
        self.teacher_head = frozen_copy(self.head)
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.momentum, self.centre_momentum = momentum, centre_momentum
        self.local_crops, self.local_size, self.local_part = local_crops, local_size, local_part
        self.frozen_steps_part = frozen_steps_part
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(prototypes))

    def loss(self, views: list[Tensor], labels: Tensor, generator: torch.Generator) -> Tensor:
        """Distillation loss; moves the centre as well."""
        images = torch.cat(views)
        with torch.no_grad():
            taught = self.teacher_head(self.teacher_backbone(images))
        students = list(self.head(self.backbone(images)).chunk(len(views)))
        if self.local_crops:
            # ASSUME: as many local crops from the first global view as from the second
            sources = [views[i % len(views)] for i in range(self.local_crops)]
            crops = local_crops(torch.cat(sources), self.local_size, self.local_part, generator)
            students += list(self.head(self.backbone(crops)).chunk(self.local_crops))
        loss = self.distillation(students, list(taught.chunk(len(views))))
        self.move_centre(taught)
        return loss

    def distillation(self, students: list[Tensor], teachers: list[Tensor]) -> Tensor:
        """Mean cross-entropy over pairs of different views; view i of both lists is the same view."""
        targets = [F.softmax((t - self.centre) / self.teacher_temperature, dim=1) for t in teachers]
        predictions = [F.log_softmax(s / self.student_temperature, dim=1) for s in students]
        terms = [
            -(target * prediction).sum(dim=1).mean()
            for i, target in enumerate(targets)
            for j, prediction in enumerate(predictions)
            if i != j
        ]
        return torch.stack(terms).mean()

    @torch.no_grad()
    def move_centre(self, taught: Tensor) -> None:
        """centre ← m · centre + (1 − m) · mean of the teacher's outputs [rows, P]."""
        self.centre.mul_(self.centre_momentum).add_(taught.mean(dim=0), alpha=1 - self.centre_momentum)

    def before_step(self, progress: float) -> None:
        """Keep the prototypes' directions fixed at the beginning, as the paper does with its last layer."""
        if progress < self.frozen_steps_part:
            self.head.directions.grad = None

    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student."""
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * progress)) / 2
        move_average(self.teacher_backbone, self.backbone, momentum)
        move_average(self.teacher_head, self.head, momentum)


def local_crops(images: Tensor, size: int, part: tuple[float, float], generator: torch.Generator) -> Tensor:
    """One random square of every image, resized.

    Args:
        images: [N, 3, H, W].
        size: pixels a side of the result.
        part: smallest and largest side of the square, as part of the image's side.
        generator: advanced.

    Returns:
        [N, 3, size, size].
    """
    draws = torch.rand((3, len(images)), generator=generator)
    side = part[0] + (part[1] - part[0]) * draws[0]
    theta = torch.zeros((len(images), 2, 3))
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = ((2 * draws[1:] - 1) * (1 - side)).T
    grid = F.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid.to(images.device), align_corners=False)
