"""One layer with any hyper-parameters against its own autograd, one example at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.curvature.per_example import block_kernel, diagonal_kernel
from obtransfer.curvature.per_example.operands import Operands, layer_activations, layer_gradients
from torch import Tensor, nn

SIDE = st.integers(1, 3)


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    groups = draw(st.sampled_from([1, 2, 4]))
    kernel, dilation = (draw(SIDE), draw(SIDE)), (draw(SIDE), draw(SIDE))
    padding: Any = draw(st.sampled_from(["same", "valid", (0, 0), (1, 2), (2, 1)]))
    stride = (1, 1) if padding == "same" else (draw(SIDE), draw(SIDE))
    outputs = groups * draw(st.integers(1, 3))
    return nn.Conv2d(4, outputs, kernel, stride, padding, dilation, groups, bias=draw(st.booleans())).double()


def operands_and_exact(layer: nn.Module, inputs: Tensor) -> tuple[Operands, Tensor]:
    """The layer's operands for a random output gradient, and per-example gradients [N, n] by autograd."""
    outputs = layer(inputs)
    gradients = torch.randn_like(outputs)
    exact = [
        torch.autograd.grad(output, layer.weight, gradient, retain_graph=True)[0].flatten()
        for output, gradient in zip(outputs, gradients, strict=True)
    ]
    with torch.no_grad():
        return Operands(layer_gradients(layer, gradients), layer_activations(layer, inputs)), torch.stack(
            exact
        )


def check(layer: nn.Module, inputs: Tensor, block_size: int) -> None:
    operands, exact = operands_and_exact(layer, inputs)
    total = torch.zeros(layer.weight.shape, dtype=torch.float64)
    diagonal_kernel.add(total, operands)
    torch.testing.assert_close(total.flatten(), exact.square().sum(dim=0), rtol=1e-9, atol=1e-9)

    blocks = torch.zeros(-(-layer.weight.numel() // block_size), block_size, block_size, dtype=torch.float64)
    block_kernel.add(blocks, operands)
    padded = nn.functional.pad(exact, (0, -exact.shape[1] % block_size)).unflatten(1, (-1, block_size))
    expected = torch.einsum("nki,nkj->kij", padded, padded)
    torch.testing.assert_close(blocks, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    layer=convolutions(),
    height=st.integers(7, 12),
    width=st.integers(7, 12),
    block_size=st.integers(1, 40),
    channels_last=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_any_convolution(
    layer: nn.Conv2d, height: int, width: int, block_size: int, channels_last: bool
) -> None:
    inputs = torch.randn(3, 4, height, width, dtype=torch.float64)
    check(layer, inputs.to(memory_format=torch.channels_last) if channels_last else inputs, block_size)


@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("block_size", [1, 4, 100])
def test_linear_with_any_leading_dimensions(leading: tuple[int, ...], block_size: int) -> None:
    check(nn.Linear(3, 7).double(), torch.randn(4, *leading, 3, dtype=torch.float64), block_size)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [2, 4])
def test_uneven_same_padding_puts_the_odd_zero_last(kernel: int) -> None:
    layer = nn.Conv2d(2, 3, kernel, padding="same").double()
    check(layer, torch.randn(2, 2, 9, 9, dtype=torch.float64), 16)
