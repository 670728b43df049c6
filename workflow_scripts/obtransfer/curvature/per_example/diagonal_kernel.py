"""Squares of per-example gradients, added up: what the structure `diagonal` keeps."""

from __future__ import annotations

from functools import cache
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.grad import conv2d_weight

from obtransfer.curvature.per_example.operands import Operands, example_gradients
from obtransfer.curvature.per_example.patches import Patches

FLOATS_AT_ONCE = 2**20
"""How many entries of per-example gradients exist at once: 4 MiB in float32. With fewer the products are too thin."""

MAX_POSITIONS_FOR_PAIRS = 4
"""With at most so many positions, squaring before the product is cheaper than per-example gradients (measured, CPU)."""

MAX_POSITIONS_FOR_WINDOWS = 16
"""With at most so many positions, a padded convolution is cheaper as one product per place of its kernel, which leaves out
the zeros (measured, CPU) ..."""

MIN_FLOATS_FOR_WINDOWS = 2**18
"""... if a place has at least so many entries of per-example gradients."""

MIN_FLOATS_FOR_FUSED = 2**15
"""With at least so many weights, one pass that squares and adds each example is cheaper than two (measured, CPU)."""

MAX_CHANNELS_FOR_GROUPS = 16
"""With at most so many input channels per group, oneDNN is quick also with a group for each example (measured)."""


def add(total: Tensor, operands: Operands) -> None:
    """Add Σ_n g_n² to `total` in place, where g_n is the gradient of example n alone.

    g_n = Σ_t d_nt a_ntᵀ is a sum over the positions t of one example, with output gradients d and input
    activations a. With few positions one product of pairs is computed, Σ_n (Σ_t d_t a_t)² = Σ_n Σ_t,t' (d_t d_t')
    (a_t a_t')ᵀ; with many, chunks of per-example gradients that fit the cache.

    Args:
        total: the weight's shape, changed.
        operands: of all uses of the layer in one forward.
    """
    gradients, activations = operands
    groups, outputs = gradients.shape[1:3]
    rows = total.view(groups, outputs, -1)
    if not isinstance(activations, Patches):
        _add_products(rows, operands)
    elif _in_windows(gradients, activations):
        _add_windows(rows, gradients, activations)
    elif groups == 1:
        _add_channels_last(rows, gradients, activations)
    elif _in_groups(rows, activations):
        _add_groups(rows, gradients, activations)
    else:
        step = max(1, _floats_at_once(rows) // prod(activations.shape[1:]))
        for start in range(0, len(gradients), step):
            _add_chunks(rows, operands.of_examples(start, start + step))


def _add_products(rows: Tensor, operands: Operands, buffer: Tensor | None = None) -> None:
    if operands.gradients.shape[-1] <= MAX_POSITIONS_FOR_PAIRS:
        _add_pairs(rows, operands)
    else:
        _add_chunks(rows, operands, buffer)


def _add_pairs(rows: Tensor, operands: Operands) -> None:
    """One product over (example, pair of positions); pairs t < t' count twice.

    Args:
        rows: [G, O, I], changed.
        operands: with L positions each.
    """
    first, second, count = _pairs(operands.gradients.shape[-1], rows.dtype, rows.device)
    # Positions first, [L, G, B, O or I]: choosing pairs copies whole rows.
    gradients, activations = (factor.permute(3, 1, 0, 2).contiguous() for factor in operands)
    left = gradients[first] * gradients[second] * count
    right = activations[first] * activations[second]
    left, right = (factor.transpose(0, 1).flatten(1, 2) for factor in (left, right))  # [G, pairs · B, O or I]
    rows.baddbmm_(left.transpose(1, 2), right)


@cache
def _pairs(positions: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    first, second = torch.triu_indices(positions, positions, device=device)
    count = torch.where(first == second, 1.0, 2.0).to(dtype)
    return first, second, count[:, None, None, None]


def _add_chunks(rows: Tensor, operands: Operands, buffer: Tensor | None = None) -> None:
    """Per-example gradients of some output channels and some examples at a time, squared and added.

    Args:
        rows: [G, O, I], changed.
        operands: the layer's.
        buffer: what `_buffer` returned for at least so many examples.
    """
    groups, outputs = rows.shape[:2]
    size = len(operands.gradients)
    channels, examples = _chunk(rows)
    if buffer is None:
        buffer = _buffer(rows, size)
    for channel in range(0, outputs, channels):
        part = rows[:, channel : channel + channels]
        some_channels = Operands(operands.gradients[:, :, channel : channel + channels], operands.activations)
        for example in range(0, size, examples):
            chunk = some_channels.of_examples(example, example + examples)
            shape = (len(chunk.gradients) * groups, *part.shape[1:])
            _add_squares(part, example_gradients(chunk, buffer[: prod(shape)].view(shape)))


def _chunk(rows: Tensor) -> tuple[int, int]:
    """Output channels of [G, O, I], and examples, at once."""
    groups, outputs, inputs = rows.shape
    channels = max(1, min(outputs, _floats_at_once(rows) // (groups * inputs)))
    return channels, max(1, _floats_at_once(rows) // (groups * channels * inputs))


def _buffer(rows: Tensor, size: int) -> Tensor:
    """Memory for a chunk of at most so many examples: allocating it each time would cost as much as the squares."""
    channels, examples = _chunk(rows)
    return rows.new_empty(min(examples, size) * rows.shape[0] * channels * rows.shape[2])


def _add_squares(rows: Tensor, gradients: Tensor) -> None:
    """Add the squares of [B, G, O, I], which are overwritten, to [G, O, I]."""
    if len(gradients) == 1 or (rows.device.type == "cpu" and rows.numel() >= MIN_FLOATS_FOR_FUSED):
        for gradient in gradients.unbind():
            rows.addcmul_(gradient, gradient)
    else:
        rows.add_(gradients.square_().sum(dim=0))


def _in_windows(gradients: Tensor, patches: Patches) -> bool:
    size, _, outputs, positions = gradients.shape
    floats = size * outputs * patches.maps.shape[1]
    small = positions <= MAX_POSITIONS_FOR_WINDOWS and floats >= MIN_FLOATS_FOR_WINDOWS
    return small and any(patches.geometry.sides)


def _add_windows(rows: Tensor, gradients: Tensor, patches: Patches) -> None:
    """Add a convolution as one small product per place in its kernel.

    Args:
        rows: [G, O, I], changed.
        gradients: [B, G, O, L].
        patches: [B, G, I, L].
    """
    # Positions first, [H, W, B, G, O or C]: a window copies whole rows.
    maps = patches.maps.unflatten(1, (rows.shape[0], -1)).permute(3, 4, 0, 1, 2).contiguous()
    gradients = gradients.unflatten(3, patches.output).permute(3, 4, 0, 1, 2).contiguous()
    windows = list(patches.windows())
    sums = rows.new_zeros(len(windows), *rows.shape[:2], rows.shape[2] // len(windows))
    for place, (inputs, outputs) in zip(sums, windows, strict=True):
        window = Operands(
            *(part.flatten(0, 1).permute(1, 2, 3, 0) for part in (gradients[outputs], maps[inputs]))
        )
        if window.gradients.shape[-1]:
            _add_products(place, window)
    rows.unflatten(2, (-1, len(windows))).add_(sums.permute(1, 2, 3, 0))


def _add_channels_last(rows: Tensor, gradients: Tensor, patches: Patches) -> None:
    """A convolution with patches in an order that is quick to copy; arguments as of `_add_windows`, one group."""
    sums, buffer = torch.zeros_like(rows), _buffer(rows, len(gradients))
    examples = max(1, min(_chunk(rows)[1], _floats_at_once(rows) // prod(patches.shape[1:])))
    starts = range(0, len(gradients), examples)
    for start, part in zip(starts, patches.unfold_channels_last(examples), strict=True):
        _add_products(sums, Operands(gradients[start : start + examples], part), buffer)
    places = prod(patches.geometry.kernel)
    rows.unflatten(2, (-1, places)).add_(sums.unflatten(2, (places, -1)).transpose(2, 3))


def _in_groups(rows: Tensor, patches: Patches) -> bool:
    channels = patches.maps.shape[1] // patches.geometry.groups
    return rows.device.type == "cpu" and rows.dtype == torch.float32 and channels <= MAX_CHANNELS_FOR_GROUPS


def _add_groups(rows: Tensor, gradients: Tensor, patches: Patches) -> None:
    """A depthwise or grouped convolution: the weight gradient of one convolution with a group per example and group.

    Args:
        rows: [G, O, I], changed.
        gradients: [B, G, O, L].
        patches: [B, G, I, L].
    """
    (left, right, top, bottom), (kernel, stride, dilation) = patches.geometry.sides, patches.geometry[:3]
    even = left == right and top == bottom
    maps = patches.maps if even else pad(patches.maps, patches.geometry.sides)
    padding = (top, left) if even else (0, 0)
    step = max(1, _floats_at_once(rows) // rows.numel())
    for some, inputs in zip(gradients.split(step), maps.split(step), strict=True):
        groups = len(some) * len(rows)
        products = conv2d_weight(
            inputs.reshape(1, -1, *maps.shape[2:]),
            (groups * rows.shape[1], maps.shape[1] // len(rows), *kernel),
            some.reshape(1, -1, *patches.output),
            stride,
            padding,
            dilation,
            groups,
        )
        _add_squares(rows, products.view(len(some), *rows.shape))


def _floats_at_once(rows: Tensor) -> int:
    # ASSUME: a GPU wants larger products than a cache holds (not measured).
    return FLOATS_AT_ONCE if rows.device.type == "cpu" else FLOATS_AT_ONCE * 64
