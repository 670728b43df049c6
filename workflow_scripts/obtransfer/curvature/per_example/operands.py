"""The two factors of a layer's per-example gradient, in one form for Conv2d and Linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from obtransfer.curvature.per_example.patches import Geometry, Patches


class Operands(NamedTuple):
    """Gradient of example n and group c = `gradients[n, c]` [O, L] · `activations[n, c]`ᵀ [L, I], L
    positions.

    The flattened [G, O, I] is the row-major order of the weight. Several uses of one layer in a forward pass count
    as more positions: their gradients are added before anything is squared. Activations may be `Patches`, which
    are unfolded by what computes with them.
    """

    gradients: Tensor  # [B, G, O, L]
    activations: Tensor  # [B, G, I, L]

    def of_examples(self, start: int, stop: int) -> Operands:
        """The same layer for some of the examples."""
        return Operands(self.gradients[start:stop], self.activations[start:stop])


def join(uses: Sequence[Operands]) -> Operands:
    """All uses of one layer as one."""
    if len(uses) == 1:
        return uses[0]
    return Operands(
        torch.cat([use.gradients for use in uses], dim=-1),
        torch.cat([use.activations for use in uses], dim=-1),
    )


def example_gradients(operands: Operands, out: Tensor | None = None) -> Tensor:
    """Gradients of every example alone.

    Args:
        operands: the layer's.
        out: [B · G, O, I], written to; rows of I must be contiguous.

    Returns:
        [B, G, O, I], a new tensor, or a view of `out`.
    """
    gradients, activations = operands
    left, right = gradients.flatten(0, 1), activations.flatten(0, 1).transpose(1, 2)
    if len(left) == 1 and out is not None:
        torch.mm(left[0], right[0], out=out[0])  # all threads on one product
        product = out
    else:
        product = torch.bmm(left, right, out=out)
    return product.unflatten(0, gradients.shape[:2])


def layer_activations(module: nn.Module, inputs: Tensor) -> Tensor:
    """What the layer multiplies its weight with, at every position.

    Args:
        module: Conv2d or Linear.
        inputs: [B, C, H, W] or [B, ..., C].

    Returns:
        [B, G, I, L], a view of `inputs` where possible, `Patches` of them where the kernel is not 1 × 1.
    """
    if not isinstance(module, nn.Conv2d):
        return inputs.reshape(len(inputs), -1, inputs.shape[-1]).transpose(1, 2)[:, None]
    patches = Patches(inputs, Geometry.of(module, *inputs.shape[2:]))
    single = patches.geometry.kernel == (1, 1) and not any(patches.geometry.sides)
    if not single:
        return patches
    rows, columns = next(patches.windows())[0]
    return inputs[:, :, rows, columns].flatten(2).unflatten(1, (module.groups, -1))


def layer_gradients(module: nn.Module, gradients: Tensor) -> Tensor:
    """The gradient of the layer's output, at every position.

    Args:
        module: Conv2d or Linear.
        gradients: [B, O, H, W] or [B, ..., O].

    Returns:
        [B, G, O / G, L], a view where possible.
    """
    if isinstance(module, nn.Conv2d):
        return gradients.flatten(2).unflatten(1, (module.groups, -1))
    return gradients.reshape(len(gradients), -1, gradients.shape[-1]).transpose(1, 2)[:, None]
