"""timm's `Conv2dSame`, whose padding depends on the size of its input, against autograd and a network that pads by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from exact_curvature import blocks_of, example_gradients, full_matrix, relative_error
from obtransfer.curvature.per_example import diagonal_kernel
from obtransfer.curvature.per_example.patches import Geometry
from obtransfer.errors import ObtransferError
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from tiny_models import make, make_examples, make_head, statistic
from torch import Tensor, nn

TOLERANCE = 1e-8
SIZES = [(8, 8), (9, 7), (7, 10)]


class TinySame(nn.Module):
    """Strides 2, 1, 2 and 3, groups, dilation, even kernels, and a stride that passes over pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2dSame(2, 4, 3, stride=2, bias=False)
        self.even = Conv2dSame(4, 4, 2, groups=2)
        self.depthwise = Conv2dSame(4, 4, (5, 3), stride=(2, 1), dilation=(1, 2), groups=4)
        self.skipping = Conv2dSame(4, 4, 1, stride=2)
        self.last = Conv2dSame(4, 4, 2, stride=3)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.even(torch.tanh(self.stem(images))))
        maps = torch.tanh(self.depthwise(maps)) + maps.mean(dim=(2, 3), keepdim=True)
        return self.skipping(maps).mean(dim=(2, 3)) + torch.tanh(self.last(maps)).mean(dim=(2, 3))


class Padded(nn.Module):
    """A plain convolution behind zeros that timm's own function adds."""

    def __init__(self, layer: Conv2dSame) -> None:
        super().__init__()
        kernel: Any = layer.kernel_size
        self.plain = nn.Conv2d(
            layer.in_channels, layer.out_channels, kernel, layer.stride, 0, layer.dilation, layer.groups
        )
        self.plain.weight, self.plain.bias = layer.weight, layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        layer = self.plain
        outputs: Tensor = layer(pad_same(inputs, layer.kernel_size, layer.stride, layer.dilation))
        return outputs


def padded(model: nn.Module) -> nn.Module:
    twin = copy.deepcopy(model)
    for name, layer in model.named_children():
        assert isinstance(layer, Conv2dSame)
        setattr(twin, name, Padded(layer))
    return twin


def case(size: tuple[int, int]) -> tuple[nn.Module, Tensor, Tensor]:
    return make(TinySame), *make_examples((2, *size), 5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("estimator", ["ggn", "empirical_fisher"])
@pytest.mark.parametrize("windows", [0, 10**6])
def test_diagonal_and_blocks_are_exact(
    size: tuple[int, int], estimator: str, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagonal_kernel, "MAX_POSITIONS_FOR_WINDOWS", windows)
    monkeypatch.setattr(diagonal_kernel, "MIN_FLOATS_FOR_WINDOWS", 0)
    model, images, labels = case(size)
    head, names = make_head(4), [name for name, _ in model.named_parameters() if "weight" in name]
    exact = example_gradients(model, *head, images, labels, names)[estimator]
    batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]
    diagonal = statistic(model, head, batches, estimator=estimator, structure="diagonal")
    blocks = statistic(model, head, batches, estimator=estimator, structure="block", block_size=7)
    assert list(diagonal) == list(blocks) == names
    for name, gradients in exact.items():
        matrix = full_matrix(gradients)
        assert relative_error(diagonal[name].flatten(), matrix.diagonal()) < TOLERANCE, name
        assert relative_error(blocks[name], blocks_of(matrix, 7)) < TOLERANCE, name


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("estimator", ["ggn", "mc_fisher", "empirical_fisher", "hessian"])
def test_all_structures_are_those_of_a_network_that_pads_by_hand(
    size: tuple[int, int], estimator: str
) -> None:
    model, images, labels = case(size)
    twin = padded(model)

    def compute(network: nn.Module, structure: str, **more: Any) -> dict[str, Tensor]:
        options = {"num_probes": 3} if estimator == "hessian" else {}
        found = statistic(
            network,
            make_head(4),
            [(images, labels)],
            estimator=estimator,
            structure=structure,
            **options,
            **more,
        )
        return {name.replace(".plain.", "."): tensor for name, tensor in found.items()}

    for structure in ("diagonal",) if estimator == "hessian" else ("diagonal", "block", "kfac", "ekfac"):
        more = [{}, {}]
        if structure == "ekfac":
            factors = compute(model, "kfac")
            more = [
                {"prior": factors},
                {"prior": {n.replace(".", ".plain.", 1): t for n, t in factors.items()}},
            ]
        found, expected = compute(model, structure, **more[0]), compute(twin, structure, **more[1])
        assert list(found) == list(expected)
        if estimator == "hessian":  # its signs depend on the names of the weights
            continue
        for name, tensor in expected.items():
            assert relative_error(found[name], tensor) < 1e-10, (structure, name)


@pytest.mark.parametrize("size", [32, 33])
def test_a_network_of_timm(size: int) -> None:
    torch.manual_seed(0)
    model = timm.create_model("tf_mobilenetv3_small_minimal_100", num_classes=0).double()
    names = [f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, Conv2dSame)]
    images, labels = make_examples((3, size, size), 2)
    head = make_head(model.eval()(images).shape[1])
    exact = example_gradients(model, *head, images, labels, names)["ggn"]
    found = statistic(model, head, [(images, labels)], estimator="ggn", structure="diagonal")
    blocks = statistic(model, head, [(images, labels)], estimator="ggn", structure="block")
    assert len(names) > 3 and set(names) < set(found)
    for name in names:
        matrix = full_matrix(exact[name])
        assert relative_error(found[name].flatten(), matrix.diagonal()) < TOLERANCE, name
        assert relative_error(blocks[name], blocks_of(matrix, 16)) < TOLERANCE, name


@pytest.mark.parametrize(
    ("size", "sides"), [((8, 9), (1, 1, 0, 1)), ((9, 8), (0, 1, 1, 1)), ((1, 2), (0, 1, 1, 1))]
)
def test_an_odd_zero_comes_last(size: tuple[int, int], sides: tuple[int, ...]) -> None:
    """By hand, for a kernel of 3 and stride 2: 8 pixels need 9, 9 need 11, 1 needs 3, 2 need 3; left, right, top, bottom."""
    geometry = Geometry.of(Conv2dSame(1, 1, 3, stride=2), *size)
    assert geometry.sides == sides
    assert geometry.output(*size) == tuple(-(-length // 2) for length in size)


class Scaled(Conv2dSame):
    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = super().forward(x) * 2
        return outputs


def test_a_layer_derived_from_it_is_refused() -> None:
    model = make(TinySame)
    model.stem = Scaled(2, 4, 3, stride=2).double()
    with pytest.raises(ObtransferError, match=r"stem.weight \(Scaled replaces Conv2d.forward\)"):
        statistic(model, make_head(4), [make_examples((2, 8, 8), 2)], estimator="ggn", structure="diagonal")


def test_timms_linear_layer_is_a_linear_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), timm.layers.Linear(6, 4)).double()
    images, labels, head = *make_examples((1, 2, 3), 3), make_head(4)
    exact = full_matrix(example_gradients(model, *head, images, labels, ["1.weight"])["ggn"]["1.weight"])
    found = statistic(model, head, [(images, labels)], estimator="ggn", structure="diagonal")
    assert relative_error(found["1.weight"].flatten(), exact.diagonal()) < TOLERANCE
