"""Networks of plain modules, for other people's code that knows only those; and the head as one more of them."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import NUM_CLASSES, TinyCNN, TinyViT


class PlainCNN(nn.Sequential):
    """Stride, padding, dilation, an uneven kernel, BatchNorm, pooling, two Linear layers."""

    input_shape = (2, 9, 8)

    def __init__(self, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, (1, 3), padding=(2, 1), dilation=(1, 2), groups=groups),
            nn.Tanh(),
            nn.AvgPool2d((2, 1)),
            nn.Conv2d(4, 2, (2, 1), stride=(2, 1)),
            nn.Sigmoid(),
            nn.MaxPool2d((1, 2)),
            nn.Flatten(),
            nn.Linear(4, 5),
            nn.Tanh(),
            nn.Linear(5, 4),
        )


class GroupedCNN(PlainCNN):
    """The same with a grouped convolution."""

    def __init__(self) -> None:
        super().__init__(groups=2)


class PlainMLP(nn.Sequential):
    """Linear layers on features."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5, bias=False), nn.ELU(), nn.Linear(5, 4))


NUM_FEATURES = 4
"""Of all networks here."""

NETWORKS: dict[str, type[nn.Module]] = {
    "TinyCNN": TinyCNN,
    "TinyViT": TinyViT,
    "PlainCNN": PlainCNN,
    "PlainMLP": PlainMLP,
}


def with_head(model: nn.Module, head: tuple[Tensor, Tensor]) -> nn.Sequential:
    """The very modules of a backbone, in evaluation mode, then the head as a Linear layer."""
    last = nn.Linear(NUM_FEATURES, NUM_CLASSES).double()
    last.weight.data, last.bias.data = head[0].clone(), head[1].clone()
    flat = list(model) if isinstance(model, nn.Sequential) else [model]
    return nn.Sequential(*flat, last).eval()
