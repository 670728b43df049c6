"""Both estimators and both structures against per-example autograd, in float64."""

from __future__ import annotations

import pytest
import torch
from exact_curvature import blocks_of, example_gradients, full_matrix, relative_error
from obtransfer.curvature.per_example import block_kernel, diagonal_kernel
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic
from torch import Tensor, nn

TOLERANCE = 1e-8


class Case:
    """A network with its head, five examples and the exact matrices."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.model = make(kind)
        self.names = [
            f"{n}.weight" for n, m in self.model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
        ]
        self.images, self.labels = make_examples(kind.input_shape, 5)
        self.head = make_head(4)
        gradients = example_gradients(self.model, *self.head, self.images, self.labels, self.names)
        self.exact = {e: {n: full_matrix(g) for n, g in layers.items()} for e, layers in gradients.items()}

    def compute(self, estimator: str, structure: str, block_size: int = 16) -> dict[str, Tensor]:
        batches = [(self.images[:3], self.labels[:3]), (self.images[3:], self.labels[3:])]
        return statistic(
            self.model, self.head, batches, estimator=estimator, structure=structure, block_size=block_size
        )


@pytest.fixture(scope="module", params=[TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("estimator", ["ggn", "empirical_fisher"])
def test_diagonal_is_that_of_the_full_matrix(case: Case, estimator: str) -> None:
    computed = case.compute(estimator, "diagonal")
    assert list(computed) == case.names
    for name, exact in case.exact[estimator].items():
        assert computed[name].shape == case.model.get_parameter(name).shape
        assert computed[name].dtype == torch.float64
        assert relative_error(computed[name].flatten(), exact.diagonal()) < TOLERANCE, name


@pytest.mark.parametrize("estimator", ["ggn", "empirical_fisher"])
@pytest.mark.parametrize("block_size", [1, 5, 7, 16])
def test_blocks_are_slices_of_the_full_matrix(case: Case, estimator: str, block_size: int) -> None:
    computed = case.compute(estimator, "block", block_size)
    for name, exact in case.exact[estimator].items():
        assert computed[name].shape == (-(-len(exact) // block_size), block_size, block_size)
        assert relative_error(computed[name], blocks_of(exact, block_size)) < TOLERANCE, name


@pytest.mark.parametrize("floats_at_once", [1, 30, 300])
def test_small_chunks_change_nothing(
    case: Case, floats_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagonal_kernel, "FLOATS_AT_ONCE", floats_at_once)
    monkeypatch.setattr(block_kernel, "FLOATS_AT_ONCE", floats_at_once)
    diagonals, blocks = case.compute("ggn", "diagonal"), case.compute("ggn", "block", 7)
    for name, exact in case.exact["ggn"].items():
        assert relative_error(diagonals[name].flatten(), exact.diagonal()) < TOLERANCE, name
        assert relative_error(blocks[name], blocks_of(exact, 7)) < TOLERANCE, name


@pytest.mark.parametrize("max_positions", [0, 10**6])
def test_both_routes_of_the_diagonal_agree(
    case: Case, max_positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagonal_kernel, "MAX_POSITIONS_FOR_PAIRS", max_positions)
    for name, computed in case.compute("ggn", "diagonal").items():
        assert relative_error(computed.flatten(), case.exact["ggn"][name].diagonal()) < TOLERANCE, name


def test_unfolding_again_for_every_vector_changes_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = case.compute("ggn", "diagonal")
    monkeypatch.setattr("obtransfer.curvature.per_example.hooks.CACHED_BYTES", 0)
    for name, computed in case.compute("ggn", "diagonal").items():
        assert relative_error(computed, cached[name]) < TOLERANCE, name


def test_float32_model_accumulates_in_at_least_float32(case: Case) -> None:
    model = make(type(case.model)).float()
    batch = [(case.images.float(), case.labels)]
    for asked, got in [
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        computed = statistic(model, case.head, batch, estimator="ggn", structure="diagonal", dtype=asked)
        for name, exact in case.exact["ggn"].items():
            assert computed[name].dtype == got
            assert relative_error(computed[name].flatten().double(), exact.diagonal()) < 1e-4, name


def test_squared_batch_gradient_is_another_matrix(case: Case) -> None:
    """The trap: cross terms between examples. Had the code fallen into it, the two would agree."""
    logits = case.model.eval()(case.images) @ case.head[0].T + case.head[1]
    loss = (logits - torch.eye(3, dtype=torch.float64)[case.labels]).square().sum(dim=1).mean() / 2
    computed = case.compute("empirical_fisher", "diagonal")
    for name in case.names:
        (gradient,) = torch.autograd.grad(loss, case.model.get_parameter(name), retain_graph=True)
        assert relative_error(gradient.square(), computed[name]) > 0.01, name


def test_a_subset_of_the_layers_gives_the_same_numbers(case: Case) -> None:
    everything = case.compute("ggn", "diagonal")
    some = case.names[1::2]
    batches = [(case.images, case.labels)]
    computed = statistic(
        case.model, case.head, batches, estimator="ggn", structure="diagonal", parameters=some
    )
    assert list(computed) == some
    for name in some:
        assert relative_error(computed[name], everything[name]) < TOLERANCE, name


class TwoStems(nn.Module):
    """Two first layers, one of them behind a detached branch."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.top = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        left, right = torch.tanh(self.left(inputs)), torch.tanh(self.right(inputs))
        return left * right + self.top(right.detach())


def test_every_first_layer_is_reached() -> None:
    model, head = make(TwoStems), make_head(4)
    images, labels = make_examples((3,), 4)
    names = ["left.weight", "right.weight", "top.weight"]
    exact = example_gradients(model, *head, images, labels, names)["ggn"]
    computed = statistic(model, head, [(images, labels)], estimator="ggn", structure="diagonal")
    for name in names:
        assert relative_error(computed[name].flatten(), full_matrix(exact[name]).diagonal()) < TOLERANCE, name
