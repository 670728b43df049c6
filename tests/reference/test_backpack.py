"""Against BackPACK 1.7: exact and sampled GGN diagonals, per-example gradients.

With N examples and K classes, theirs · c = ours, where c =

                                  MSELoss mean    CrossEntropyLoss mean
    DiagGGNExact, DiagGGNMC       K / 2           1
    SumGradSquared, BatchGrad²    N K² / 4        N

The mean is within their per-example gradients (1 / (N K), 1 / N), and squared with them; their squared error has no ½.

What does not run there: operations in place (their module hooks refuse them: TinyCNN), and for second-order
extensions any module that is not from torch.nn (TinyViT). In float64 some of their derivatives need that to be the
default dtype.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import one_thread
from exact_definitions import assert_equal, prunable
from plain_networks import NUM_FEATURES, GroupedCNN, PlainCNN, PlainMLP, with_head
from tiny_models import NUM_CLASSES, TinyViT, make, make_examples, make_head, statistic

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs and PyTorch's
COUNT, RUNS, SAMPLES = 4, 25, 20
SECOND_ORDER = {"squared_error": NUM_CLASSES / 2, "cross_entropy": 1.0}
FIRST_ORDER = {"squared_error": COUNT * NUM_CLASSES**2 / 4, "cross_entropy": float(COUNT)}
NETWORKS = [PlainCNN, GroupedCNN, PlainMLP]


@pytest.fixture(autouse=True)
def float64_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Both:
    """One network for both sides."""

    def __init__(self, kind: type[nn.Module]) -> None:
        from backpack import extend

        self.model, self.head = make(kind), make_head(NUM_FEATURES)
        self.images, self.labels = make_examples(kind.input_shape, COUNT)
        self.names = prunable(self.model)
        self.extended = copy.deepcopy(self.model)  # their hooks stay
        self.whole = extend(with_head(self.extended, self.head))

    def ours(self, estimator: str, loss: str, **more: Any) -> dict[str, Tensor]:
        batches = [(self.images, self.labels)]
        return statistic(
            self.model, self.head, batches, estimator=estimator, loss=loss, structure="diagonal", **more
        )

    def theirs(self, loss: str, extension: Any) -> dict[str, Tensor]:
        """What the extension leaves at every parameter."""
        from backpack import backpack, extend

        onehot = torch.eye(NUM_CLASSES)[self.labels]
        targets = onehot if loss == "squared_error" else self.labels
        criterion = extend(nn.MSELoss() if loss == "squared_error" else nn.CrossEntropyLoss())
        with backpack(extension):
            criterion(self.whole(self.images), targets).backward()
        return {name: getattr(self.extended.get_parameter(name), extension.savefield) for name in self.names}


@pytest.mark.parametrize("loss", SECOND_ORDER)
@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
@one_thread()
def test_exact_ggn(kind: type[nn.Module], loss: str) -> None:
    from backpack.extensions import DiagGGNExact

    both = Both(kind)
    ours = both.ours("ggn", loss)
    for name, diagonal in both.theirs(loss, DiagGGNExact()).items():
        assert_equal(ours[name], SECOND_ORDER[loss] * diagonal, name)


@pytest.mark.parametrize("loss", FIRST_ORDER)
@pytest.mark.parametrize("kind", [*NETWORKS, TinyViT], ids=lambda kind: kind.__name__)
@one_thread()
def test_empirical_fisher(kind: type[nn.Module], loss: str) -> None:
    from backpack.extensions import BatchGrad, SumGradSquared

    both = Both(kind)
    ours, gradients = both.ours("empirical_fisher", loss), both.theirs(loss, BatchGrad())
    for name, squares in both.theirs(loss, SumGradSquared()).items():
        assert_equal(ours[name], FIRST_ORDER[loss] * squares, name)
        assert_equal(ours[name], FIRST_ORDER[loss] * gradients[name].square().sum(dim=0), name)


@pytest.mark.parametrize("loss", SECOND_ORDER)
@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
@one_thread()
def test_sampled_ggn_agrees_in_expectation(kind: type[nn.Module], loss: str) -> None:
    """Both sides' mean over 25 runs of 20 draws each lies within five standard errors of the other's exact one."""
    from backpack.extensions import DiagGGNExact, DiagGGNMC

    both = Both(kind)
    torch.manual_seed(0)
    theirs = [flat(both.theirs(loss, DiagGGNMC(mc_samples=SAMPLES))) for _ in range(RUNS)]
    assert_mean(SECOND_ORDER[loss] * torch.stack(theirs), flat(both.ours("ggn", loss)))
    ours = [flat(both.ours("mc_fisher", loss, num_samples=SAMPLES, seed=seed)) for seed in range(RUNS)]
    assert_mean(torch.stack(ours), SECOND_ORDER[loss] * flat(both.theirs(loss, DiagGGNExact())))


def flat(layers: dict[str, Tensor]) -> Tensor:
    return torch.cat([layer.flatten() for layer in layers.values()])


def assert_mean(runs: Tensor, exact: Tensor) -> None:
    """Entry by entry, and in the sum of all entries, where the error is a few per cent."""
    for values, expected in ((runs, exact), (runs.sum(dim=1), exact.sum())):
        error = values.std(dim=0) / RUNS**0.5
        assert ((values.mean(dim=0) - expected).abs() <= 5 * error).all()
    assert error < 0.05 * exact.sum()
