"""Networks of fewer than 300 prunable weights that contain what real backbones do, in float64 and plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from obtransfer.curvature.compute import compute_curvature
from obtransfer.curvature.examples import Head
from obtransfer.curvature.request import Request
from torch import Tensor, nn

NUM_CLASSES = 3


class TinyCNN(nn.Module):
    """Strided stem, BatchNorm, in-place ReLU, depthwise 'same', groups, dilation, a shortcut, a layer used twice."""

    input_shape = (2, 9, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, padding="same", groups=4)
        self.grouped = nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=2)
        self.dilated = nn.Conv2d(4, 4, (2, 2), dilation=(1, 2), padding="same")
        self.shortcut = nn.Conv2d(4, 4, 1, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.twice = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.relu(self.norm(self.stem(images)), inplace=True)
        branch = torch.tanh(self.grouped(nn.functional.relu_(self.depthwise(maps))))
        maps = self.dilated(branch) + self.shortcut(maps)
        features = self.dropout(maps).mean(dim=(2, 3))
        return self.twice(torch.tanh(self.twice(features)))


class TinyViT(nn.Module):
    """Patch embedding, one pre-norm block with a fused qkv, MLP, mean over tokens."""

    input_shape = (1, 4, 6)

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, 4, 2, stride=2)
        self.position = nn.Parameter(torch.randn(1, 6, 4))
        self.norm1, self.norm2, self.norm = nn.LayerNorm(4), nn.LayerNorm(4), nn.LayerNorm(4)
        self.qkv, self.proj = nn.Linear(4, 12), nn.Linear(4, 4)
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2) + self.position
        size, count, _ = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(size, count, 3, 2, 2).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*qkv.unbind(0))
        tokens = tokens + self.proj(mixed.transpose(1, 2).reshape(size, count, 4))
        tokens = tokens + self.fc2(nn.functional.gelu(self.fc1(self.norm2(tokens))))
        features: Tensor = self.norm(tokens.mean(dim=1))
        return features


def make(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A network with every parameter and buffer away from its default, in float64 and training mode."""
    torch.manual_seed(seed)
    model = kind().double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + 0.5 if "var" in name else torch.randn_like(buffer))
    return model


def make_head(num_features: int, seed: int = 1) -> Head:
    """Weight [K, D] and bias [K]."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(NUM_CLASSES, num_features, generator=generator, dtype=torch.float64)
    return Head(weight, torch.randn(NUM_CLASSES, generator=generator, dtype=torch.float64))


def make_examples(shape: tuple[int, ...], count: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Images [N, *shape] and labels [N]."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return images, torch.randint(NUM_CLASSES, (count,), generator=generator)


def statistic(
    model: nn.Module,
    head: tuple[Tensor, Tensor] | None,
    batches: Iterable[Sequence[Tensor]],
    *,
    estimator: str,
    structure: str,
    prior: Mapping[str, Tensor] | None = None,
    progress: Callable[[int], None] | None = None,
    **asked: Any,
) -> dict[str, Tensor]:
    """`compute_curvature` with all that a request holds, and the block size, as keywords."""
    return compute_curvature(
        model,
        head and Head(*head),
        batches,
        request(estimator, structure, **asked),
        prior=prior,
        progress=progress,
    )


def request(estimator: str, structure: str, block_size: int | str = 16, **asked: Any) -> Request:
    """A request; `block_size` counts for `block` only, and what is no field is an option."""
    word = f"block{block_size}" if structure == "block" else structure
    fields = {name: asked.pop(name) for name in ("seed", "parameters", "dtype") if name in asked}
    return Request(estimator, word, asked, **fields)


def numbered(batches: Iterable[Sequence[Tensor]], first: int) -> Iterator[tuple[Tensor, ...]]:
    """The batches with the indices of their examples, counted from `first`."""
    for images, labels in batches:
        yield images, labels, torch.arange(first, first := first + len(images))
