"""Structure `block`: the B × B blocks of consecutive weights of one layer, in row-major order."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

import torch
from torch import Tensor
from torch.nn.functional import pad

from obtransfer.curvature.operands import Operands, example_gradients

FLOATS_AT_ONCE = 2**21
"""Entries of per-example gradients that exist together: 8 MiB in float32."""


def allocate(weight: Tensor, block_size: int, dtype: torch.dtype) -> Tensor:
    """Zeros [ceil(n/B), B, B] for the n weights of a layer."""
    num_blocks = -(-weight.numel() // block_size)
    return torch.zeros(num_blocks, block_size, block_size, dtype=dtype, device=weight.device)


def add(total: Tensor, operands: Operands, block_size: int) -> None:
    """Add Σ_n g_n g_nᵀ of every block to `total` in place, where g_n is the gradient of example n alone.

    A Gram product [blocks, B, examples] · [blocks, examples, B] per group of output channels, never one
    update per example: that would move B times the memory. Blocks never cross a layer; the last one is padded
    with zeros.

    Args:
        total: [ceil(n/B), B, B], changed.
        operands: of all uses of the layer in one forward.
        block_size: B.
    """
    done = 0
    for part in _aligned_parts(operands, block_size):
        gradients = example_gradients(part).flatten(1)  # [examples, weights of this part]
        remainder = -gradients.shape[1] % block_size
        blocks = (pad(gradients, (0, remainder)) if remainder else gradients).unflatten(1, (-1, block_size))
        blocks = blocks.transpose(0, 1)  # [blocks, examples, B]
        total[done : done + len(blocks)].baddbmm_(blocks.transpose(1, 2), blocks)
        done += len(blocks)


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
