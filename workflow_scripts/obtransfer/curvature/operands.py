"""The two factors of a layer's per-example gradient, in one form for Conv2d and Linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

MIN_WIDTH_FOR_VIEWS = 8
"""From this output width on, copying a strided view beats `unfold` on a CPU (2 to 4 times; measured)."""


class Operands(NamedTuple):
    """Gradient of example n and group c = `gradients[n, c]` [O, L] · `activations[n, c]`ᵀ [L, I], L
    positions.

    The flattened [G, O, I] is the row-major order of the weight. Several uses of one layer in a forward are
    more positions: their gradients add before anything is squared.
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


def example_gradients(operands: Operands) -> Tensor:
    """Gradients of every example alone.

    Returns:
        [B, G, O, I], a new tensor.
    """
    gradients, activations = operands
    size, groups = gradients.shape[:2]
    product = torch.bmm(gradients.flatten(0, 1), activations.flatten(0, 1).transpose(1, 2))
    return product.unflatten(0, (size, groups))


def layer_activations(module: nn.Module, inputs: Tensor) -> Tensor:
    """What the layer multiplies its weight with, at every position.

    Args:
        module: Conv2d or Linear.
        inputs: [B, C, H, W] or [B, ..., C].

    Returns:
        [B, G, I, L], a view of `inputs` where possible.
    """
    if isinstance(module, nn.Conv2d):
        return _patches(module, inputs).unflatten(1, (module.groups, -1))
    return inputs.reshape(len(inputs), -1, inputs.shape[-1]).transpose(1, 2)[:, None]


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


def _patches(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """[B, C · kh · kw, L]: the patch under the kernel at every output position, zero padding included."""
    inputs = _zero_padded(module, inputs)
    size, channels, height, width = inputs.shape
    (kh, kw), (sh, sw), (dh, dw) = module.kernel_size, module.stride, module.dilation
    out_h, out_w = (height - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1
    if out_w < MIN_WIDTH_FOR_VIEWS and (kh, kw) != (1, 1):
        return unfold(inputs, (kh, kw), dilation=(dh, dw), stride=(sh, sw))
    n, c, h, w = inputs.stride()
    view = inputs.as_strided(
        (size, channels, kh, kw, out_h, out_w),
        (n, c, h * dh, w * dw, h * sh, w * sw),
        inputs.storage_offset(),
    )
    return view.reshape(size, channels * kh * kw, out_h * out_w)


def _zero_padded(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """`inputs` with the zeros that the convolution sees; 'same' puts an odd one last."""
    if isinstance(module.padding, str):
        totals = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        sides = [(t // 2, t - t // 2) if module.padding == "same" else (0, 0) for t in totals]
    else:
        sides = [(p, p) for p in module.padding]
    (top, bottom), (left, right) = sides
    return pad(inputs, (left, right, top, bottom)) if any((top, bottom, left, right)) else inputs
