"""Path eXclusion: by hand, against the sum over all paths, and against a rebuilt network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from math import prod
from typing import Any

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.criteria.px import px
from obtransfer.models.build import build
from tiny_models import make, make_examples, make_head, statistic
from torch import Tensor, nn

px_statistic = partial(statistic, estimator="px", structure="per_weight")
Edge = tuple[Any, Any, float, tuple[str, tuple[int, ...]] | None]
"""From a neuron to a neuron, with the weight, and its name and position where it is one of the statistic."""


def test_four_weights_by_hand() -> None:
    """Two paths, v = 1 · 3 and −2 · 4, then a head of 2. x = 2 opens the first, x = −1 the second.

    z1 = mean(4, 1) = 2.5; z2 = 4 (1 · 9 + 4 · 16). The derivative by a squared weight is 2.5 · 4 · the other
    one's square.
    """
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-2.0]]))
        model[2].weight.copy_(torch.tensor([[3.0, 4.0]]))
    batches = [(torch.tensor([[2.0], [-1.0]]), torch.tensor([0, 0]))]
    found = px_statistic(model, (torch.tensor([[2.0]]), torch.tensor([100.0])), batches)
    assert found["0.weight"].tolist() == [[90.0], [160.0]]
    assert found["2.weight"].tolist() == [[10.0, 40.0]]
    weights = {name: model.get_parameter(name).detach().numpy() for name in found}
    scores = px(weights, {name: tensor.numpy() for name, tensor in found.items()}).scores
    assert scores["0.weight"].tolist() == [[90.0], [640.0]] and scores["2.weight"].tolist() == [[90.0, 640.0]]


class Enumerated(nn.Module):
    """[2, 3, 2] -> conv 2 × 2, BatchNorm, ReLU [3, 2, 1] -> linear, ReLU [3] -> linear [2]; a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3)
        self.hidden, self.last = nn.Linear(6, 3), nn.Linear(3, 2)
        self.skip = nn.Linear(6, 2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.conv(images))).flatten(1)
        features: Tensor = self.last(nn.functional.relu(self.hidden(maps), inplace=True)) + self.skip(maps)
        return features

    def edges(self, head: Tensor) -> Iterator[Edge]:
        """Every connection, one by one."""
        scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        for o, i, dy, dx in itertools.product(range(3), range(2), range(2), range(2)):
            for y in range(2):
                at = ("conv.weight", (o, i, dy, dx))
                yield ("x", i, y + dy, dx), ("conv", o, y), float(self.conv.weight[o, i, dy, dx]), at
        for o, y in itertools.product(range(3), range(2)):
            yield ("conv", o, y), ("maps", 2 * o + y), float(scale[o]), None
        for o, i in itertools.product(range(3), range(6)):
            yield ("maps", i), ("hidden", o), float(self.hidden.weight[o, i]), ("hidden.weight", (o, i))
        for o in range(2):
            for i in range(3):
                yield ("hidden", i), ("features", o), float(self.last.weight[o, i]), ("last.weight", (o, i))
            for i in range(6):
                yield ("maps", i), ("features", o), float(self.skip.weight[o, i]), ("skip.weight", (o, i))
        for k, i in itertools.product(range(len(head)), range(2)):
            yield ("features", i), ("logits", k), float(head[k, i]), None

    def gates(self, image: Tensor) -> dict[Any, bool]:
        """Of every neuron with a ReLU, from the real network."""
        maps = self.norm(self.conv(image[None])).flatten()
        hidden = self.hidden(maps.relu())
        opened = {("maps", i): bool(value > 0) for i, value in enumerate(maps)}
        return opened | {("hidden", i): bool(value > 0) for i, value in enumerate(hidden)}


def paths(edges: list[Edge], start: Any) -> Iterator[list[Edge]]:
    """All ways from a neuron to a logit."""
    if start[0] == "logits":
        yield []
    for edge in (edge for edge in edges if edge[0] == start):
        for rest in paths(edges, edge[1]):
            yield [edge, *rest]


def sum_over_paths(model: Enumerated, head: Tensor, images: Tensor) -> dict[str, Tensor]:
    """∂(1/N Σ_n Σ_k z1 z2)/∂(w²), path by path."""
    edges = list(model.edges(head))
    inputs = [("x", *index) for index in itertools.product(range(2), range(3), range(2))]
    ways = [(start, way) for start in inputs for way in paths(edges, start)]
    data = [0.0] * len(head)
    for image in images:
        gates = model.gates(image)
        for start, way in ways:
            exists = all(weight != 0 for _, _, weight, place in way if place is not None) and way[-1][2] != 0
            if exists and all(gates.get(end, True) for _, end, _, _ in way):
                data[way[-1][1][1]] += float(image[start[1:]]) ** 2 / len(images)
    found = {name: torch.zeros_like(model.get_parameter(name)) for name in WEIGHTS}
    for _, way in ways:
        for position, (_, _, _, place) in enumerate(way):
            if place is not None:
                others = [edge[2] ** 2 for index, edge in enumerate(way) if index != position]
                found[place[0]][place[1]] += data[way[-1][1][1]] * prod(others)
    return found


WEIGHTS = ["conv.weight", "hidden.weight", "last.weight", "skip.weight"]


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_against_the_sum_over_all_paths(masked: bool) -> None:
    model = make(Enumerated).eval()
    assert isinstance(model, Enumerated)
    head, bias = make_head(2)
    if masked:
        model.conv.weight[0] = 0
        model.conv.weight[:, 1, 0] = 0
        model.hidden.weight[1, ::2] = 0
        model.last.weight[0, 2] = 0
        head[1, 0] = 0
    images, labels = make_examples((2, 3, 2), 3)
    found = px_statistic(model, (head, bias), [(images[:2], labels[:2]), (images[2:], labels[2:])])
    assert list(found) == WEIGHTS
    for name, expected in sum_over_paths(model, head, images).items():
        assert expected.max() > 0 and relative_error(found[name], expected) < 1e-8, name


class Gate(nn.Module):
    """A ReLU that remembers what it lets pass, and lets the same pass again."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Tensor] = []
        self.mode = "record"

    def forward(self, inputs: Tensor) -> Tensor:
        if self.mode == "record":
            self.opened.append(inputs > 0)
            return inputs.relu()
        if self.mode == "replay":
            return torch.where(self.opened.pop(0), inputs, 0.0)
        return inputs


class Scale(nn.Module):
    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.factors = norm.weight**2 / (norm.running_var + norm.eps)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factors[:, None, None]


def replace(model: nn.Module, kind: type[nn.Module], new: Any) -> nn.Module:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kind):
                setattr(module, name, new(child))
    return model


def rebuilt(model: nn.Module, head: Tensor, images: Tensor) -> dict[str, Tensor]:
    """From three copies of the network with other modules and weights in their places."""
    real = replace(deepcopy(model).double().eval(), nn.ReLU, lambda _: Gate())
    real(images.double())
    ones = replace(deepcopy(real), nn.BatchNorm2d, lambda _: nn.Identity())
    squares = replace(deepcopy(real), nn.BatchNorm2d, Scale)
    for network, mode in ((ones, "replay"), (squares, "open")):
        for module in network.modules():
            if isinstance(module, Gate):
                module.mode = mode
            if isinstance(module, nn.Conv2d | nn.Linear):
                weight = module.weight.detach()
                module.weight = nn.Parameter((weight != 0).double() if mode == "replay" else weight.square())
    z1 = (ones(images.double().square()).detach() @ (head != 0).double().T).mean(dim=0)
    z2 = squares(torch.ones_like(images[:1]).double()) @ head.square().T
    parameters = {n: p for n, p in squares.named_parameters() if p.dim() > 1}
    return dict(zip(parameters, torch.autograd.grad((z1 * z2).sum(), list(parameters.values())), strict=True))


@pytest.mark.parametrize("architecture", ["miniresnet", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_real_networks_against_rebuilt_ones(architecture: str) -> None:
    torch.manual_seed(0)
    model = build(architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.normal_()
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, nn.Conv2d):
            module.weight.data[torch.rand_like(module.weight) < 0.3] = 0.0
    head, bias = make_head(model.num_features)
    images = torch.randn(3, 3, 32, 32)
    expected = rebuilt(model, head, images)
    found = px_statistic(model, (head, bias), [(images[:1], None), (images[1:], None)])  # type: ignore[list-item]
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert tensor.dtype == torch.float64 and tensor.min() >= 0
        # The gates are those of the float32 network: one in a million may differ.
        assert relative_error(tensor, expected[name]) < 1e-4, name


@pytest.mark.parametrize("seed", range(5))
def test_it_bounds_the_squared_jacobian_weight_by_weight(seed: int) -> None:
    """Without biases: the diagonal of the exact ggn, and in sum the trace of the neural tangent kernel."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 2, groups=2, bias=False), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3, bias=False),
    ).double()  # fmt: skip
    model[1].weight.data.normal_()
    images, labels = make_examples((2, 8, 8), 4)
    head = make_head(3)[0], torch.zeros(3)
    batches = [(images, labels)]
    bound = px_statistic(model, head, batches)
    exact = statistic(model, head, batches, estimator="ggn", structure="diagonal")
    for name, diagonal in exact.items():
        assert diagonal.max() > 0 and (bound[name] >= diagonal).all(), name


class PreActivation(nn.Module):
    """The shortcut takes what comes before BatchNorm and the ReLU in place."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.norm, self.act, self.conv = nn.BatchNorm2d(3), nn.ReLU(inplace), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return (self.conv(self.act(self.norm(maps))) + maps).mean(dim=(2, 3))


def test_what_is_done_in_place_reaches_as_far_as_in_the_real_network() -> None:
    models = [make(partial(PreActivation, inplace)) for inplace in (False, True)]  # type: ignore[arg-type]
    images, labels = make_examples((3, 5, 5), 2)
    one, two = (px_statistic(model, make_head(3), [(images, labels)]) for model in models)
    assert relative_error(one["conv.weight"], two["conv.weight"]) < 1e-12


def test_labels_biases_and_scale_of_the_statistic() -> None:
    """Of two copies of the data the mean is that of one; biases matter through the gates alone."""
    model, (images, labels) = make(Enumerated), make_examples((2, 3, 2), 3)
    head, bias = make_head(2)
    expected = px_statistic(model, (head, bias), [(images, labels)])
    model.last.bias.data.add_(10.0)
    found = px_statistic(model, (head, bias + 1), [(images, labels + 7), (images, labels)])
    for name, tensor in found.items():
        assert relative_error(tensor, expected[name]) < 1e-12
    model.hidden.bias.data.sub_(100.0)
    closed = px_statistic(model, (head, bias), [(images, labels)])
    assert relative_error(closed["hidden.weight"], expected["hidden.weight"]) > 0.01


def test_values_beyond_float32() -> None:
    layers = [nn.Linear(64, 64, bias=False) for _ in range(30)]
    for layer in layers:
        layer.weight.data.fill_(0.5)
    batch = (torch.ones(1, 64), torch.zeros(1))
    found = px_statistic(nn.Sequential(*layers), (torch.ones(1, 64), torch.zeros(1)), [batch])
    # z1 = 64^31: that many paths. 64^29 of them lead through one weight, each with 29 other weights of 1/4.
    expected = torch.full((64, 64), 64.0**31 * 64.0**29 * 0.25**29, dtype=torch.float64)
    assert found["7.weight"].shape == (64, 64) and relative_error(found["7.weight"], expected) < 1e-10
