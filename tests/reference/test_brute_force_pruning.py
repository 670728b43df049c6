"""What removing weights really costs on quadratics, by removing them and minimising over the others.

Two kinds: L(w) = ½ (w − w*)ᵀ H (w − w*) around w* with a random H, and the squared loss of a linear layer, which is
one, so that scores can be held against the loss of the layer after it was really trained again.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from obtransfer.criteria.kfac_obs import kfac_obs
from obtransfer.criteria.obd import obd
from obtransfer.criteria.obs import obs
from obtransfer.curvature import compute_statistic
from obtransfer.masks.topk import keep_mask
from obtransfer.masks.update import joint_update
from scipy.optimize import minimize
from torch import nn

Array = NDArray[np.float64]


class Quadratic:
    """L(w) = ½ ‖Rᵀ (w − w*)‖² in one or more blocks, H = R Rᵀ per block."""

    def __init__(self, num_weights: int, block_size: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.size, self.best = block_size, generator.standard_normal(num_weights)
        self.parts = [
            np.arange(s, min(s + block_size, num_weights)) for s in range(0, num_weights, block_size)
        ]
        scales = [10.0 ** generator.uniform(-2, 2, len(part)) for part in self.parts]
        self.roots = [s[:, None] * generator.standard_normal((len(s), 2 * len(s))) for s in scales]

    @property
    def blocks(self) -> Array:
        """[ceil(n/B), B, B], padded."""
        blocks = np.zeros((len(self.parts), self.size, self.size))
        for block, root in zip(blocks, self.roots, strict=True):
            block[: len(root), : len(root)] = root @ root.T
        return blocks

    def loss(self, weights: Array) -> float:
        steps = [weights[part] - self.best[part] for part in self.parts]
        return sum(np.square(root.T @ step).sum() / 2 for root, step in zip(self.roots, steps, strict=True))

    def best_without(self, removed: list[int]) -> Array:
        """The weights of least loss among those with zeros there: a least-squares problem per block."""
        weights = self.best.copy()
        weights[removed] = 0
        for part, root in zip(self.parts, self.roots, strict=True):
            free, fixed = ~np.isin(part, removed), np.isin(part, removed)
            if fixed.any() and free.any():
                target = root[fixed].T @ self.best[part[fixed]]
                step = np.linalg.lstsq(root[free].T, target, rcond=None)[0]
                weights[part[free]] += step
        return weights


def without(weights: Array, removed: list[int]) -> Array:
    found = weights.copy()
    found[removed] = 0
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num_weights", "block_size"), [(1, 1), (5, 5), (9, 4), (16, 8), (30, 7)])
def test_scores_are_the_increase_of_the_loss(num_weights: int, block_size: int, seed: int) -> None:
    problem = Quadratic(num_weights, block_size, seed)
    weights, blocks = {"a": problem.best}, {"a": problem.blocks}
    with_help = obs(weights, blocks, damping=0).scores["a"]
    diagonal = problem.blocks.diagonal(axis1=1, axis2=2).reshape(-1)[:num_weights]
    alone = obd(weights, {"a": diagonal}, damping=0).scores["a"]
    for j in range(num_weights):
        assert alone[j] == pytest.approx(problem.loss(without(problem.best, [j])), rel=1e-9)
        assert with_help[j] == pytest.approx(problem.loss(problem.best_without([j])), rel=1e-7)
        assert with_help[j] <= alone[j] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_least_squares_reference_is_a_minimum(seed: int) -> None:
    """The reference above against a general minimiser that knows only losses and gradients."""
    problem = Quadratic(6, 6, seed)
    problem.roots = [root / np.linalg.norm(root, axis=1, keepdims=True) for root in problem.roots]
    removed, free = [1, 4], [0, 2, 3, 5]

    def loss(values: Array) -> tuple[float, Array]:
        weights = without(problem.best, removed)
        weights[free] = values
        return problem.loss(weights), (problem.blocks[0] @ (weights - problem.best))[free]

    found = minimize(loss, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-12})
    np.testing.assert_allclose(found.x, problem.best_without(removed)[free], atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize(("num_weights", "block_size"), [(6, 6), (8, 8), (8, 3)])
def test_joint_update_is_the_optimum_for_every_subset(
    num_weights: int, block_size: int, damping: float
) -> None:
    """All 2ⁿ sets of removed weights; λ is a further quadratic ½ λ ‖w − w*‖²."""
    problem = Quadratic(num_weights, block_size, seed=7)
    undamped = problem.blocks
    problem.roots = [np.hstack([r, damping**0.5 * np.eye(len(r))]) for r in problem.roots]
    for count in range(num_weights + 1):
        for removed in map(list, combinations(range(num_weights), count)):
            keep = ~np.isin(np.arange(num_weights), removed)
            updated = joint_update({"a": problem.best}, {"a": keep}, {"a": undamped}, {"a": damping})["a"]
            assert not updated[removed].any()
            best = problem.best_without(removed)
            np.testing.assert_allclose(updated, best, rtol=1e-6, atol=1e-8 * np.abs(best).max())
            assert problem.loss(updated) <= problem.loss(without(problem.best, removed)) * (1 + 1e-9)


def test_the_lowest_score_is_the_best_weight_but_lowest_scores_are_not_the_best_set() -> None:
    """Against all sets of a size, each at its own true cost."""
    excess = []
    for problem in [Quadratic(8, 8, seed) for seed in range(5)]:
        weights, blocks = {"a": problem.best}, problem.blocks

        def cost_alone(removed: list[int], problem: Quadratic = problem) -> float:
            return problem.loss(without(problem.best, removed))

        def cost_with_help(removed: list[int], problem: Quadratic = problem) -> float:
            return problem.loss(problem.best_without(removed))

        for scores, cost in (
            (obd(weights, {"a": blocks[0].diagonal().copy()}, damping=0).scores["a"], cost_alone),
            (obs(weights, {"a": blocks}, damping=0).scores["a"], cost_with_help),
        ):
            for count in range(1, 8):
                selected = cost(list(np.flatnonzero(~keep_mask(scores, count))))
                best = min(cost(list(removed)) for removed in combinations(range(8), count))
                excess.append((count, selected / best))
    assert all(ratio == pytest.approx(1, rel=1e-6) for count, ratio in excess if count == 1)
    assert (
        max(ratio for _, ratio in excess) > 1.1
    )  # pairs removed together: no score of single weights sees them


class LinearProblem:
    """A Linear layer without bias, fitted to random targets by least squares: 1/N Σ_n ½ ‖W x_n − y_n‖²."""

    def __init__(self, inputs: int, classes: int, examples: int) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(inputs, classes, bias=False).double()
        self.x = torch.randn(examples, inputs).double() @ torch.randn(inputs, inputs).double()
        self.labels = torch.randint(classes, (examples,))
        self.y = torch.eye(classes).double()[self.labels]
        self.layer.weight.data = self.fit(torch.ones_like(self.layer.weight, dtype=torch.bool))
        self.weights = {"weight": self.layer.weight.detach().numpy().copy()}

    def fit(self, mask: torch.Tensor) -> torch.Tensor:
        """Train again: every output's row on the inputs that are left to it."""
        weight = torch.zeros(mask.shape, dtype=torch.float64)
        for row, keep, target in zip(weight, mask, self.y.T, strict=True):
            row[keep] = torch.linalg.lstsq(self.x[:, keep], target[:, None]).solution[:, 0]
        return weight

    def loss(self, weight: torch.Tensor) -> float:
        return float((self.x @ weight.T - self.y).square().sum(dim=1).mean() / 2)

    def statistic(self, structure: str) -> dict[str, Array]:
        """By the code under test; the layer's outputs are the logits."""
        found = compute_statistic(self.layer, None, [(self.x, self.labels)], "ggn", structure)
        return {name: value.numpy() for name, value in found.items()}


def test_scores_of_a_linear_layer_are_what_training_it_again_cannot_win_back() -> None:
    problem = LinearProblem(inputs=6, classes=3, examples=40)
    full = problem.layer.weight.detach()
    alone = obd(problem.weights, problem.statistic("diagonal"), damping=0).scores["weight"]
    with_help = obs(problem.weights, problem.statistic("blockrow"), damping=0).scores["weight"]
    by_factors = kfac_obs(problem.weights, problem.statistic("kfac"), damping=0).scores["weight"]
    for index in np.ndindex(*full.shape):
        mask = torch.ones_like(full, dtype=torch.bool)
        mask[index] = False
        assert alone[index] == pytest.approx(problem.loss(full * mask) - problem.loss(full), rel=1e-7)
        increase = problem.loss(problem.fit(mask)) - problem.loss(full)
        assert with_help[index] == pytest.approx(increase, rel=1e-6)
        assert by_factors[index] == pytest.approx(increase, rel=1e-6)  # H = A ⊗ 1 exactly


@pytest.mark.parametrize("seed", range(5))
def test_joint_update_of_a_linear_layer_is_training_it_again(seed: int) -> None:
    problem = LinearProblem(inputs=6, classes=3, examples=40)
    keep = np.random.default_rng(seed).random((3, 6)) < 0.5
    updated = joint_update(problem.weights, {"weight": keep}, problem.statistic("blockrow"), {"weight": 0.0})
    trained = problem.fit(torch.from_numpy(keep)).numpy()
    np.testing.assert_allclose(updated["weight"], trained, rtol=1e-6, atol=1e-9)
