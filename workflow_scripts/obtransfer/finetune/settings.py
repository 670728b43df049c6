"""What a fine-tuning run is told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from obtransfer.errors import ObtransferError

SCHEDULES = ("multistep", "cosine", "constant")
BATCHNORM_MODES = ("frozen", "trained")
AUGMENTATIONS = ("none", "flip", "crop_flip")


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """Settings of the optimiser, SGD on the squared loss Σ_k ½ (f_k − onehot_k)², mean over the batch.

    The authors' loss is the mean over classes without the ½, 2/K times ours. Plain SGD then takes the same steps here
    with 2/K times their learning rate and K/2 times their weight decay: for K = 10, 5e-5 and 1e-4 become 1e-5 and 5e-4.

    Args:
        epochs: passes over the train split, >= 1.
        batch_size: images a step, >= 1; the last step of an epoch takes what is left.
        learning_rate: > 0, at the start of the schedule.
        momentum: in [0, 1); torch's form v ← μ v + g, w ← w − η v.
        weight_decay: >= 0, added to the gradient of *all* trained parameters, norms and biases too (as the authors).
        schedule: "multistep" (× gamma at each milestone), "cosine" (to 0 at the end) or "constant".
        milestones: epochs, counted from 0, at whose start a multistep schedule multiplies by gamma.
        gamma: in (0, 1].
        batchnorm: "frozen" keeps the running statistics and normalises with them, scale and shift still learn;
            "trained" normalises with the batch and updates the statistics.
        mixed_precision: bfloat16 autocast on CUDA; on the CPU it does nothing.
        augmentation: "none", "flip" (left-right, half of the images) or "crop_flip" (random resized crops, too).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: str
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    batchnorm: str = "frozen"
    mixed_precision: bool = True
    augmentation: str = "none"

    def __post_init__(self) -> None:
        """Refuse settings outside their ranges, all at once."""
        object.__setattr__(self, "milestones", tuple(self.milestones))
        wrong = [
            f"{name} must be {needed}, got {getattr(self, name)!r}"
            for name, needed, valid in self._requirements()
            if not valid
        ]
        if wrong:
            raise ObtransferError("Fine-tuning settings: " + "; ".join(wrong) + ".")

    def _requirements(self) -> list[tuple[str, str, bool]]:
        """Name, what is needed in words, and whether it holds."""
        increasing = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        return [
            ("epochs", "an integer >= 1", _is_integer(self.epochs) and self.epochs >= 1),
            ("batch_size", "an integer >= 1", _is_integer(self.batch_size) and self.batch_size >= 1),
            ("learning_rate", "finite and > 0", math.isfinite(self.learning_rate) and self.learning_rate > 0),
            ("momentum", "in [0, 1)", 0 <= self.momentum < 1),
            ("weight_decay", "finite and >= 0", math.isfinite(self.weight_decay) and self.weight_decay >= 0),
            ("schedule", f"one of {', '.join(SCHEDULES)}", self.schedule in SCHEDULES),
            ("milestones", "increasing epochs >= 1", increasing),
            ("gamma", "in (0, 1]", 0 < self.gamma <= 1),
            ("batchnorm", f"one of {', '.join(BATCHNORM_MODES)}", self.batchnorm in BATCHNORM_MODES),
            ("augmentation", f"one of {', '.join(AUGMENTATIONS)}", self.augmentation in AUGMENTATIONS),
        ]


def _is_integer(value: object) -> bool:
    """A Python integer that is not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)
