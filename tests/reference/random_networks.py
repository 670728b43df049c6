"""Random small networks for hypothesis: every kind of layer, in shapes nobody would think of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_definitions import prunable
from tiny_models import NUM_CLASSES

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "leaky in place": lambda: nn.LeakyReLU(0.1, inplace=True),
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class Case:
    """A network in float64, a head [K, D] and [K], and examples [N, C, H, W] and [N]."""

    model: nn.Module
    head: tuple[Tensor, Tensor]
    images: Tensor
    labels: Tensor

    def sizes(self) -> dict[str, int]:
        """Number of weights of every prunable layer."""
        return {name: self.model.get_parameter(name).numel() for name in prunable(self.model)}


class Stage(nn.Module):
    """A layer, called once or twice, then what comes after it."""

    def __init__(self, layer: nn.Module, calls: int, *after: nn.Module) -> None:
        super().__init__()
        self.layer, self.calls, self.after = layer, calls, nn.Sequential(*after)

    def forward(self, inputs: Tensor) -> Tensor:
        for _ in range(self.calls):
            inputs = self.layer(inputs)
        outputs: Tensor = self.after(inputs)
        return outputs


class Network(nn.Module):
    """Convolutions, layers on tokens [B, H, W, C] or [B, T, C], their mean, layers on features [B, D]."""

    def __init__(self, maps: list[Stage], tokens: list[Stage], features: list[Stage], grid: bool) -> None:
        super().__init__()
        self.maps, self.tokens, self.features = (nn.Sequential(*part) for part in (maps, tokens, features))
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maps(images).movedim(1, -1)
        tokens = self.tokens(maps if self.grid else maps.flatten(1, 2))
        features: Tensor = self.features(tokens.flatten(1, -2).mean(dim=1))
        return features


@st.composite
def cases(draw: st.DrawFn, max_examples: int = 4) -> Case:
    """Layers of fewer than 150 weights each; every parameter and statistic is away from its default."""
    channels = draw(st.integers(1, 3))
    size = (draw(st.integers(2, 7)), draw(st.integers(2, 7)))
    shape = (draw(st.integers(1, max_examples)), channels, *size)
    parts: list[list[Stage]] = [[], [], []]
    for _ in range(draw(st.integers(1, 3))):
        stage, channels, size = draw(map_stages(channels, size))
        parts[0].append(stage)
    for part, most in ((parts[1], 2), (parts[2], 1)):
        for _ in range(draw(st.integers(0, most))):
            stage, channels = draw(linear_stages(channels))
            part.append(stage)
    torch.manual_seed(draw(st.integers(0, 1000)))
    model = Network(*parts, grid=draw(st.booleans())).double().train(draw(st.booleans()))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if "var" in name else 0.7 * torch.randn_like(tensor)
                )
    images, head = torch.randn(shape).double(), torch.randn(NUM_CLASSES, channels + 1).double()
    labels = torch.randint(NUM_CLASSES, shape[:1])
    return Case(model, (head[:, 1:], head[:, 0]), images, labels)


@st.composite
def cut_cases(draw: st.DrawFn) -> tuple[Case, int, int]:
    """With a block size, at most that of the largest layer, and how many numbers may be in memory at once."""
    case = draw(cases())
    largest = max(case.sizes().values())
    return case, draw(st.integers(1, largest)), draw(st.sampled_from([1, 30, 2**20]))


@st.composite
def map_stages(draw: st.DrawFn, channels: int, size: tuple[int, int]) -> tuple[Stage, int, tuple[int, int]]:
    """A convolution that fits maps [channels, *size], and the shape of what comes out."""
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
    outputs = channels if draw(st.booleans()) else groups * draw(st.integers(1, 4 // groups))
    named = draw(st.sampled_from(["", "", "", "same", "valid"]))
    kernel, dilation, stride, padding = zip(*[draw(axes(length, named)) for length in size], strict=True)
    layer = nn.Conv2d(
        channels, outputs, kernel, stride, named or padding, dilation, groups, bias=draw(st.booleans())
    )
    size, again = _size_after(layer, size), _size_after(layer, _size_after(layer, size))
    twice = outputs == channels and min(again) >= 1 and draw(st.booleans())
    size = again if twice else size
    after = [nn.BatchNorm2d(outputs)] if draw(st.booleans()) else []
    after.append(ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]())
    pooling = draw(st.sampled_from([None, nn.MaxPool2d(2), nn.AvgPool2d(2, stride=1)]))
    if pooling is not None and min(size) >= 2:
        after.append(pooling)
        size = tuple(pooling(torch.zeros(1, 1, *size)).shape[2:])
    return Stage(layer, 1 + twice, *after), outputs, size


@st.composite
def axes(draw: st.DrawFn, length: int, named: str) -> tuple[int, int, int, int]:
    """Kernel, dilation, stride and padding along one axis."""
    padding = 0 if named else draw(st.integers(0, 2))
    room = 10 if named == "same" else length + 2 * padding
    kernel = draw(st.integers(1, min(3, room)))
    dilation = draw(st.integers(1, 2 if 2 * kernel - 1 <= room else 1))
    return kernel, dilation, 1 if named == "same" else draw(st.integers(1, 3)), padding


def _size_after(layer: nn.Conv2d, size: tuple[int, int]) -> tuple[int, int]:
    if layer.padding == "same":
        return size
    padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
    reach = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    height, width = (
        max((n + 2 * p - r) // s + 1, 0)
        for n, p, r, s in zip(size, padding, reach, layer.stride, strict=True)
    )
    return height, width


@st.composite
def linear_stages(draw: st.DrawFn, channels: int) -> tuple[Stage, int]:
    """A Linear layer on the last dimension, and how many outputs it has."""
    outputs = channels if draw(st.booleans()) else draw(st.integers(1, 5))
    twice = outputs == channels and draw(st.booleans())
    layer = nn.Linear(channels, outputs, bias=draw(st.booleans()))
    norm = [nn.LayerNorm(outputs)] if outputs > 2 and draw(st.booleans()) else []  # of two it is a constant
    return Stage(layer, 1 + twice, *norm, ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]()), outputs


@st.composite
def linear_networks(draw: st.DrawFn, count: st.SearchStrategy[int], nonlinear: bool) -> Case:
    """Linear layers on features [B, D], each called once; tanh between them, or nothing at all."""
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(nn.Linear(before, after, bias=draw(st.booleans())))
        if nonlinear:
            layers.append(nn.Tanh())
    torch.manual_seed(draw(st.integers(0, 1000)))
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    images = torch.randn(draw(count), widths[0]).double()
    head = torch.randn(NUM_CLASSES, widths[-1]).double(), torch.randn(NUM_CLASSES).double()
    return Case(model, head, images, torch.randint(NUM_CLASSES, images.shape[:1]))
