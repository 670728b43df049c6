"""Outer products of blocks of per-example gradients, added up: what the structure `block` keeps."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd, prod

from torch import Tensor

from obtransfer.curvature.per_example.operands import Operands, example_gradients
from obtransfer.curvature.per_example.patches import Patches

FLOATS_AT_ONCE = 2**22
"""How many entries of per-example gradients exist at once: 16 MiB in float32. With fewer the products are too thin."""

POSITIONS_PER_OUTPUT = 4
"""With more positions per output channel, reordering gradients is cheaper than reordering patches (measured, CPU)."""

LINE = 16
"""Floats in a cache line. Rows are an odd number of lines apart; otherwise all share one place of the cache."""


def add(total: Tensor, operands: Operands) -> None:
    """Add Σ_n g_n g_nᵀ of every block to `total` in place, where g_n is the gradient of example n alone.

    One Gram product [blocks, B, examples] · [blocks, examples, B] per group of output channels. One update per
    example would move B times the memory.

    Args:
        total: [ceil(n/B), B, B], changed.
        operands: of all uses of the layer in one forward.
    """
    done = 0
    for blocks in _gradients_in_blocks(operands, total.shape[-1]):
        total[done : done + len(blocks)].baddbmm_(blocks.transpose(1, 2), blocks)
        done += len(blocks)


def _gradients_in_blocks(operands: Operands, block_size: int) -> Iterator[Tensor]:
    """Per-example gradients [blocks, examples, B] of one part of the layer after the other."""
    gradients, activations = operands
    if not isinstance(activations, Patches):
        parts = _aligned_parts(operands, block_size)
    elif gradients.shape[1] == 1 and gradients.shape[3] > POSITIONS_PER_OUTPUT * gradients.shape[2]:
        step = max(1, FLOATS_AT_ONCE // (len(gradients) * block_size))
        yield from _of_channels_last(gradients, activations, block_size).split(step)
        return
    else:
        parts = _aligned_parts(Operands(gradients, activations.unfold_rows()), block_size)
    for part in parts:
        groups, outputs = part.gradients.shape[1:3]
        products, blocks = _rows(part.gradients, (groups, outputs, part.activations.shape[2]), block_size)
        if groups == 1:
            example_gradients(part, out=products[:, 0])
        else:
            products.copy_(example_gradients(part))
        yield blocks


def _rows(like: Tensor, shape: tuple[int, ...], block_size: int) -> tuple[Tensor, Tensor]:
    """Memory for gradients [examples, *shape], and the same memory as [blocks, examples, B], the last zero-padded."""
    weights = prod(shape)
    whole = -(-weights // block_size) * block_size
    rows = like.new_empty(len(like), (-(-whole // LINE) | 1) * LINE)
    rows[:, weights:whole] = 0
    blocks = rows[:, :whole].unflatten(1, (-1, block_size)).transpose(0, 1)
    return rows[:, :weights].unflatten(1, shape), blocks


def _of_channels_last(gradients: Tensor, patches: Patches, block_size: int) -> Tensor:
    """[blocks, examples, B] of a convolution with large maps, whose gradients are cheaper to copy than its patches."""
    outputs, inputs = gradients.shape[2], patches.shape[2]
    places = prod(patches.geometry.kernel)
    products, blocks = _rows(gradients, (outputs, inputs // places, places), block_size)
    examples = max(1, FLOATS_AT_ONCE // (inputs * patches.shape[3]))
    for start, part in zip(
        range(0, len(gradients), examples), patches.unfold_channels_last(examples), strict=True
    ):
        some = example_gradients(Operands(gradients[start : start + examples], part))[:, 0]
        products[start : start + examples] = some.unflatten(2, (places, -1)).transpose(2, 3)
    return blocks


def _aligned_parts(operands: Operands, block_size: int) -> Iterator[Operands]:
    """Cut the layer between blocks: by output channels, or by groups where there are several.

    Only the last part may hold a number of weights that is not a multiple of the block size.
    """
    gradients, activations = operands
    size, groups, outputs, _ = gradients.shape
    inputs = activations.shape[2]
    if groups == 1:
        step = _step(inputs, outputs, size, block_size)
        for start in range(0, outputs, step):
            yield Operands(gradients[:, :, start : start + step], activations)
    else:
        step = _step(outputs * inputs, groups, size, block_size)
        for start in range(0, groups, step):
            yield Operands(gradients[:, start : start + step], activations[:, start : start + step])


def _step(weights: int, rows: int, size: int, block_size: int) -> int:
    """How many rows of `weights` weights make whole blocks that fit the memory for `size` examples."""
    aligned = block_size // gcd(weights, block_size)
    return min(rows, max(aligned, FLOATS_AT_ONCE // (size * weights) // aligned * aligned))
