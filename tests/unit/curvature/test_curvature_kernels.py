"""Every route to the same numbers, what the routes promise about memory, and when patches are unfolded."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from obtransfer.curvature.per_example import block_kernel, diagonal_kernel
from obtransfer.curvature.per_example.hooks import LayerHooks
from obtransfer.curvature.per_example.operands import (
    Operands,
    example_gradients,
    layer_activations,
    layer_gradients,
)
from obtransfer.curvature.per_example.patches import Geometry, Patches
from torch import Tensor, nn

BLOCK = 7
LAYERS: dict[str, Callable[[], nn.Conv2d]] = {
    "plain": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "strided": lambda: nn.Conv2d(4, 6, (3, 2), (2, 3), (2, 1)),
    "dilated": lambda: nn.Conv2d(4, 6, (2, 3), 1, 3, (2, 3)),
    "grouped": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "grouped_same": lambda: nn.Conv2d(4, 6, (2, 4), padding="same", groups=2),
    "grouped_strided": lambda: nn.Conv2d(4, 4, (3, 2), (2, 3), (2, 1), (1, 2), 2),
    "padded_1x1": lambda: nn.Conv2d(4, 6, 1, 2, 1),
    "all_padding": lambda: nn.Conv2d(4, 6, 5, padding=4, dilation=2),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)


def layer_and_inputs(kind: str, side: int = 7) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    return LAYERS[kind]().double(), torch.randn(5, 4, side, side + 1, dtype=torch.float64)


def operands_of(layer: nn.Conv2d, inputs: Tensor) -> tuple[Operands, Tensor]:
    """Operands for random output gradients, and the flat per-example gradients [N, n] by autograd."""
    outputs = layer(inputs)
    gradients = torch.randn_like(outputs)
    exact = [
        torch.autograd.grad(output, layer.weight, gradient, retain_graph=True)[0].flatten()
        for output, gradient in zip(outputs, gradients, strict=True)
    ]
    return Operands(layer_gradients(layer, gradients), layer_activations(layer, inputs)), torch.stack(exact)


def check_diagonal(layer: nn.Conv2d, operands: Operands, exact: Tensor) -> None:
    total = torch.ones_like(layer.weight)
    with torch.no_grad():
        diagonal_kernel.add(total, operands)
    torch.testing.assert_close(total.flatten(), 1 + exact.square().sum(dim=0), rtol=1e-12, atol=1e-12)


def check_blocks(layer: nn.Conv2d, operands: Operands, exact: Tensor) -> None:
    total = torch.ones(-(-layer.weight.numel() // BLOCK), BLOCK, BLOCK, dtype=torch.float64)
    with torch.no_grad():
        block_kernel.add(total, operands)
    padded = nn.functional.pad(exact, (0, -exact.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    torch.testing.assert_close(
        total, 1 + torch.einsum("nki,nkj->kij", padded, padded), rtol=1e-12, atol=1e-12
    )


@each_layer
@pytest.mark.parametrize("side", [1, 2, 7])
@pytest.mark.parametrize("floats", [1, 50, 2**20])
@pytest.mark.parametrize("windows", [0, 10**6], ids=["unfolded", "windows"])
@pytest.mark.parametrize("pairs", [0, 10**6], ids=["chunks", "pairs"])
def test_routes_of_the_diagonal(
    kind: str, side: int, floats: int, windows: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagonal_kernel, "FLOATS_AT_ONCE", floats)
    monkeypatch.setattr(diagonal_kernel, "MAX_POSITIONS_FOR_WINDOWS", windows)
    monkeypatch.setattr(diagonal_kernel, "MIN_FLOATS_FOR_WINDOWS", 0)
    monkeypatch.setattr(diagonal_kernel, "MAX_POSITIONS_FOR_PAIRS", pairs)
    layer, inputs = layer_and_inputs(kind, side)
    check_diagonal(layer, *operands_of(layer, inputs))


@pytest.mark.parametrize("kind", ["grouped", "depthwise", "grouped_same", "grouped_strided"])
def test_a_group_per_example(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only in float32: oneDNN knows no float64."""
    monkeypatch.setattr(diagonal_kernel, "MAX_POSITIONS_FOR_WINDOWS", 0)
    monkeypatch.setattr(diagonal_kernel, "FLOATS_AT_ONCE", 120)  # not all examples at once
    called = []
    route = diagonal_kernel._add_groups
    monkeypatch.setattr(
        diagonal_kernel, "_add_groups", lambda *arguments: called.append(kind) or route(*arguments)
    )
    layer, inputs = layer_and_inputs(kind)
    operands, exact = operands_of(layer.float(), inputs.float())
    total = torch.ones_like(layer.weight)
    with torch.no_grad():
        diagonal_kernel.add(total, operands)
    torch.testing.assert_close(total.flatten(), 1 + exact.square().sum(dim=0), rtol=1e-5, atol=1e-5)
    assert called


@pytest.mark.parametrize("fused", [0, 10**9], ids=["one_pass", "square_then_add"])
def test_both_ways_to_add_squares(fused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagonal_kernel, "MIN_FLOATS_FOR_FUSED", fused)
    monkeypatch.setattr(diagonal_kernel, "MAX_POSITIONS_FOR_WINDOWS", 0)
    layer, inputs = layer_and_inputs("plain")
    check_diagonal(layer, *operands_of(layer, inputs))


@each_layer
@pytest.mark.parametrize("side", [1, 7])
@pytest.mark.parametrize("floats", [1, 2**20])
@pytest.mark.parametrize("positions", [0, 10**6], ids=["reorder_gradients", "reorder_patches"])
def test_routes_of_the_blocks(
    kind: str, side: int, floats: int, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_kernel, "FLOATS_AT_ONCE", floats)
    monkeypatch.setattr(block_kernel, "POSITIONS_PER_OUTPUT", positions)
    layer, inputs = layer_and_inputs(kind, side)
    check_blocks(layer, *operands_of(layer, inputs))


@each_layer
def test_channels_last_maps(kind: str) -> None:
    layer, inputs = layer_and_inputs(kind)
    operands, exact = operands_of(layer, inputs.to(memory_format=torch.channels_last))
    check_diagonal(layer, operands, exact)
    check_blocks(layer, operands, exact)


def test_patches_are_those_of_unfold() -> None:
    _, inputs = layer_and_inputs("plain")
    layer = nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2))
    expected = nn.functional.unfold(inputs, (3, 2), (1, 2), (1, 2), (2, 1))
    patches = layer_activations(layer, inputs)
    assert isinstance(patches, Patches)
    assert patches.shape == (5, 1, *expected.shape[1:])
    assert patches.is_contiguous() and patches.clone().is_contiguous()
    assert torch.equal(patches + 0, expected[:, None])
    assert torch.equal(torch.cat([patches, patches]), torch.cat([expected, expected])[:, None])
    ones = torch.ones(24, dtype=torch.float64)
    torch.testing.assert_close(patches.flatten(0, 1).mT @ ones, expected.sum(dim=1))


def test_some_examples_of_patches_stay_folded() -> None:
    layer, inputs = layer_and_inputs("dilated")
    patches = layer_activations(layer, inputs)
    some = patches[1:3]
    assert isinstance(some, Patches) and "(2, 1," in repr(some)
    assert some.maps.data_ptr() == inputs[1:].data_ptr()
    assert torch.equal(some + 0, (patches + 0)[1:3])
    assert torch.equal(patches[:, :, 2:4], (patches + 0)[:, :, 2:4])


def test_channels_last_patches_are_a_permutation() -> None:
    layer, inputs = layer_and_inputs("strided")
    patches = layer_activations(layer, inputs)
    assert isinstance(patches, Patches)
    found = torch.cat([part.clone() for part in patches.unfold_channels_last(2)])
    reordered = found.unflatten(2, (3, 2, 4)).permute(0, 1, 4, 2, 3, 5).flatten(2, 4)
    assert torch.equal(reordered, patches + 0)


def test_odd_zero_of_same_padding_comes_last() -> None:
    geometry = Geometry.of(nn.Conv2d(2, 3, (2, 4), padding="same"), 9, 8)
    assert geometry.sides == (1, 2, 0, 1)
    assert geometry.output(9, 8) == (9, 8)


def test_pointwise_convolutions_are_not_unfolded() -> None:
    inputs = torch.randn(2, 4, 6, 6)
    activations = layer_activations(nn.Conv2d(4, 6, 1), inputs)
    assert not isinstance(activations, Patches)
    assert activations.data_ptr() == inputs.data_ptr()


def test_diagonal_never_holds_a_batch_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagonal_kernel, "MAX_POSITIONS_FOR_WINDOWS", 0)
    monkeypatch.setattr(diagonal_kernel, "FLOATS_AT_ONCE", 2 * 36 * 56)
    sizes = []
    for name in ("zeros", "empty"):
        made = getattr(Tensor, f"new_{name}")
        monkeypatch.setattr(
            Tensor, f"new_{name}", lambda self, *shape, made=made: sizes.append(shape) or made(self, *shape)
        )
    monkeypatch.setattr(Patches, "unfold_rows", lambda self: pytest.fail("unfolded all at once"))
    layer, inputs = layer_and_inputs("plain")
    check_diagonal(layer, *operands_of(layer, inputs))
    assert sizes and max(shape[0] for shape in sizes if len(shape) > 1) == 2


def test_gradients_in_blocks_start_in_different_places_of_the_cache() -> None:
    products, blocks = block_kernel._rows(torch.empty(3, 1), (1, 32, 64), 64)
    assert products.shape == (3, 1, 32, 64) and blocks.shape == (32, 3, 64)
    assert products.data_ptr() == blocks.data_ptr()
    assert blocks.stride(1) % 32 == 16 and blocks.stride(2) == 1


def test_example_gradients_into_given_memory() -> None:
    layer, inputs = layer_and_inputs("plain")
    operands, exact = operands_of(layer, inputs)
    with torch.no_grad():
        for size in (1, 5):
            out = torch.empty(size, 6, 36, dtype=torch.float64)
            found = example_gradients(operands.of_examples(0, size), out)
            assert found.data_ptr() == out.data_ptr() and found.shape == (size, 1, 6, 36)
            torch.testing.assert_close(found.flatten(1), exact[:size])


def test_inputs_are_forgotten_with_the_last_vector() -> None:
    """While the first layer is consumed nothing holds the input of the last one any more."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    inner: list[weakref.ref[Tensor]] = []
    model[4].register_forward_pre_hook(
        lambda _, inputs: inner.append(weakref.ref(inputs[0].untyped_storage()))
    )
    alive: list[bool] = []

    def consume(name: str, operands: Operands, vector: int) -> None:
        if name == "0.weight":
            alive.append(inner[0]() is not None)

    hooks = LayerHooks({"0.weight": model[0], "4.weight": model[4]}, torch.float32, consume)
    features = hooks.forward(model, torch.randn(5, 3))
    hooks.backward(features, [torch.ones(5, 2), torch.ones(5, 2)])
    assert alive == [True, False]
