"""Floating-point operations of a forward pass, counted by shape while one image goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from obtransfer.masks.mask import Kept
from obtransfer.models.contexts import evaluation_mode


@dataclass(frozen=True)
class Flops:
    """FLOPs of one image.

    `layers`: products with a parameter, by the parameter's name; `attention`: products of two activations;
    `other`: products with weights that are computed first (weight standardisation), which a mask does not thin.
    """

    layers: dict[str, int]
    attention: int
    other: int

    def dense(self) -> int:
        """Of the dense model."""
        return sum(self.layers.values()) + self.attention + self.other

    def sparse_layers(self, kept: Kept) -> dict[str, int]:
        """Of every layer when only the weights that are kept are multiplied."""
        return {
            name: flops * int(np.count_nonzero(kept[name])) // kept[name].size if name in kept else flops
            for name, flops in self.layers.items()
        }

    def sparse(self, kept: Kept) -> int:
        """Of the whole model when only the weights that are kept are multiplied."""
        return sum(self.sparse_layers(kept).values()) + self.attention + self.other


def count_flops(model: nn.Module, images: torch.Tensor) -> Flops:
    """Count what `model` does for one of `images`.

    Two FLOPs (a multiplication and an addition) for every product of a matrix multiplication or convolution, padding
    included: 2 · positions · weights for a layer, 2 · H N² (d + d) for attention over N tokens. Biases, norms,
    activations, pooling and softmax are not counted. The trap: `torch.utils.flop_counter` misses fused attention on
    the CPU; this counts it, whichever kernel runs.

    Args:
        model: not changed; gradients are not needed.
        images: [1, 3, H, W], on the model's device.
    """
    names = {
        parameter.untyped_storage().data_ptr(): (name, parameter.numel())
        for name, parameter in model.named_parameters()
        if parameter.numel()
    }
    counter = _Counter(names)
    with evaluation_mode(model), torch.no_grad(), counter:
        model(images[:1])
    return Flops(counter.layers, counter.attention, counter.other)


class _Counter(TorchDispatchMode):
    """Sees every operation below autograd, where a linear layer is a matrix product with its weight's storage."""

    def __init__(self, names: Mapping[int, tuple[str, int]]) -> None:
        super().__init__()
        self.names = names
        self.layers: dict[str, int] = {}
        self.attention = self.other = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operation = func._schema.name.removeprefix("aten::")
        if operation.startswith("_scaled_dot_product"):
            query, key, value = args[:3]
            self.attention += 2 * query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        elif operation in _PRODUCTS:
            flops, operands = _PRODUCTS[operation](args, result)
            layer = next((name for name in map(self._parameter, operands) if name), "")
            if layer:
                self.layers[layer] = self.layers.get(layer, 0) + flops
            elif operation in _BATCHED:
                self.attention += flops
            else:
                self.other += flops
        return result

    def _parameter(self, operand: torch.Tensor) -> str:
        """The parameter that an operand is, seen from another side perhaps."""
        name, size = self.names.get(operand.untyped_storage().data_ptr(), ("", 0))
        return name if size == operand.numel() else ""


_Product = tuple[int, tuple[torch.Tensor, ...]]


def _matrices(first: int) -> Callable[[tuple[Any, ...], torch.Tensor], _Product]:
    """FLOPs of the product of arguments number `first` and `first` + 1."""

    def flops(args: tuple[Any, ...], result: torch.Tensor) -> _Product:
        left, right = args[first : first + 2]
        return 2 * result.numel() * left.shape[-1], (left, right)

    return flops


def _convolution(args: tuple[Any, ...], result: torch.Tensor) -> _Product:
    images, weight, transposed = args[0], args[1], args[6]
    positions = images if transposed else result
    return 2 * positions.numel() * weight[0].numel(), (weight,)


_PRODUCTS: dict[str, Callable[[tuple[Any, ...], torch.Tensor], _Product]] = {
    "mm": _matrices(0),
    "addmm": _matrices(1),
    "bmm": _matrices(0),
    "baddbmm": _matrices(1),
    "convolution": _convolution,
}
_BATCHED = ("bmm", "baddbmm")
