"""Structure `diagonal`: h_j = H_jj, in the parameter's shape."""

from __future__ import annotations

import torch
from torch import Tensor

from obtransfer.curvature.operands import Operands, example_gradients

FLOATS_AT_ONCE = 2**20
"""Entries of per-example gradients that exist together: 4 MiB in float32. Fewer make the products too thin."""

MAX_POSITIONS_FOR_PAIRS = 3
"""Up to here squaring before the product is cheaper than per-example gradients (measured on a CPU)."""


def allocate(weight: Tensor, block_size: int, dtype: torch.dtype) -> Tensor:
    """Zeros of the weight's shape."""
    return torch.zeros(weight.shape, dtype=dtype, device=weight.device)


def add(total: Tensor, operands: Operands, block_size: int) -> None:
    """Add Σ_n g_n² to `total` in place, where g_n is the gradient of example n alone.

    With g_n = Σ_t d_nt a_ntᵀ over the positions t of one example (output gradients d, input activations a):
    few positions go through one product of pairs, Σ_n (Σ_t d_t a_t)² = Σ_n Σ_t,t' (d_t d_t')(a_t a_t')ᵀ; many
    through chunks of per-example gradients, small enough for the cache.

    Args:
        total: the weight's shape, changed.
        operands: of all uses of the layer in one forward.
        block_size: ignored.
    """
    positions = operands.gradients.shape[-1]
    rows = total.view(operands.gradients.shape[1], operands.gradients.shape[2], -1)
    if positions <= MAX_POSITIONS_FOR_PAIRS:
        _add_pairs(rows, operands)
    else:
        _add_chunks(rows, operands)


def _add_pairs(rows: Tensor, operands: Operands) -> None:
    """One product over (example, pair of positions); pairs t < t' count twice.

    Args:
        rows: [G, O, I], changed.
        operands: with L positions each.
    """
    gradients, activations = operands
    first, second = torch.triu_indices(gradients.shape[-1], gradients.shape[-1], device=rows.device)
    count = torch.where(first == second, 1.0, 2.0).to(rows.dtype)
    left = gradients[..., first] * gradients[..., second] * count  # [B, G, O, pairs]
    right = activations[..., first] * activations[..., second]  # [B, G, I, pairs]
    rows.baddbmm_(left.permute(1, 2, 0, 3).flatten(2), right.permute(1, 0, 3, 2).flatten(1, 2))


def _add_chunks(rows: Tensor, operands: Operands) -> None:
    """Per-example gradients of some output channels and some examples at a time, squared and added.

    Args:
        rows: [G, O, I], changed.
        operands: the layer's.
    """
    groups, outputs, inputs = rows.shape
    size = len(operands.gradients)
    channels = max(1, min(outputs, FLOATS_AT_ONCE // (groups * inputs)))
    examples = max(1, FLOATS_AT_ONCE // (groups * channels * inputs))
    for channel in range(0, outputs, channels):
        part = rows[:, channel : channel + channels]
        some_channels = Operands(operands.gradients[:, :, channel : channel + channels], operands.activations)
        for example in range(0, size, examples):
            gradients = example_gradients(some_channels.of_examples(example, example + examples))
            if len(gradients) == 1:
                part.addcmul_(gradients[0], gradients[0])
            else:
                part.add_(gradients.square_().sum(dim=0))
