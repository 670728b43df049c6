"""The mean gradient and its product with the Hessian: by hand, against autograd, and what is refused."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from exact_curvature import relative_error
from obtransfer.criteria.grasp import grasp
from obtransfer.criteria.snip import snip
from obtransfer.errors import ObtransferError
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic
from torch import Tensor, nn

LOSSES = ["squared_error", "cross_entropy"]
gradient = partial(statistic, estimator="gradient", structure="per_weight")
hessian_gradient = partial(statistic, estimator="hessian_gradient", structure="per_weight")


def loss_by_hand(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    if loss == "squared_error":
        return (
            (logits - torch.eye(logits.shape[1], dtype=logits.dtype)[labels]).square().sum() / 2 / len(logits)
        )
    return -logits.softmax(dim=1)[torch.arange(len(labels)), labels].log().mean()


class Case:
    def __init__(self, kind: type[nn.Module], loss: str) -> None:
        self.model, self.head, self.loss = make(kind).eval(), make_head(4), loss
        self.images, self.labels = make_examples(kind.input_shape, 5)
        names = [f"{n}.weight" for n, m in self.model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        self.weights = {name: self.model.get_parameter(name) for name in names}

    def batches(self, size: int = 3) -> list[tuple[Tensor, ...]]:
        """With indices, which are not read."""
        indices = torch.arange(5)
        return list(zip(self.images.split(size), self.labels.split(size), indices.split(size), strict=True))

    def gradient(self, size: int = 3) -> dict[str, Tensor]:
        return gradient(self.model, self.head, self.batches(size), loss=self.loss)

    def hessian_gradient(self, size: int = 3, **options: Any) -> dict[str, Tensor]:
        return hessian_gradient(self.model, self.head, self.batches(size), loss=self.loss, **options)

    def exact_gradients(self) -> tuple[Tensor, ...]:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            logits = self.model(self.images) @ self.head[0].T + self.head[1]
            value = loss_by_hand(logits, self.labels, self.loss)
            found: tuple[Tensor, ...] = torch.autograd.grad(
                value, list(self.weights.values()), create_graph=True
            )
        return found


@pytest.fixture(scope="module", params=itertools.product([TinyCNN, TinyViT], LOSSES), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def four_weights() -> tuple[nn.Linear, tuple[Tensor, Tensor], list[tuple[Tensor, Tensor]]]:
    """f = W x, W = [[1, 2], [3, 4]]; residuals (0, 3) at x = (1, 0), class 0, (2, 3) at (0, 1), class 1."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    batch = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    return model, (torch.eye(2), torch.zeros(2)), [batch]


def test_four_weights_by_hand() -> None:
    """g = ½ Σ r xᵀ = [[0, 1], [1.5, 1.5]]; H is ½ Σ x xᵀ = ½ I for both rows, so that H g = g / 2."""
    model, head, batches = four_weights()
    first = gradient(model, head, batches)
    assert first["weight"].tolist() == [[0.0, 1.0], [1.5, 1.5]]
    second = hessian_gradient(model, head, batches, prior=first)
    assert second["weight"].tolist() == [[0.0, 0.5], [0.75, 0.75]]
    weights = {"weight": model.weight.detach().numpy()}
    scores = snip(weights, {name: tensor.numpy() for name, tensor in first.items()}).scores["weight"]
    assert scores.tolist() == [[0.0, 2.0], [4.5, 6.0]]
    scores = grasp(weights, {name: tensor.numpy() for name, tensor in second.items()}).scores["weight"]
    assert scores.tolist() == [[0.0, 1.0], [2.25, 3.0]]


def test_gradient_is_that_of_the_mean_loss(case: Case) -> None:
    found = case.gradient()
    assert list(found) == list(case.weights)
    for (name, computed), exact in zip(found.items(), case.exact_gradients(), strict=True):
        assert computed.shape == exact.shape and relative_error(computed, exact) < 1e-10, name


def test_hessian_gradient_is_half_the_gradient_of_the_squared_norm(case: Case) -> None:
    norm = torch.stack([g.square().sum() for g in case.exact_gradients()]).sum()
    exact = torch.autograd.grad(norm / 2, list(case.weights.values()))
    for (name, computed), expected in zip(case.hessian_gradient().items(), exact, strict=True):
        assert computed.shape == expected.shape and relative_error(computed, expected) < 1e-10, name


def test_grasp_is_what_a_removal_takes_from_the_squared_norm(case: Case) -> None:
    """The sign: ‖g‖² with one weight made smaller by the fraction t changes by −2 t w (H g)."""

    def norm() -> float:
        return sum(float(g.detach().square().sum()) for g in case.exact_gradients())

    statistic = {name: tensor.numpy() for name, tensor in case.hessian_gradient().items()}
    weights = {name: weight.detach().numpy() for name, weight in case.weights.items()}
    scores = grasp(weights, statistic).scores
    fraction = 1e-5
    for name, weight in case.weights.items():
        position = int(np.abs(scores[name]).argmax())
        entry, before = weight.data.view(-1), float(weight.data.view(-1)[position])
        norms = []
        for factor in (1 - fraction, 1 + fraction):
            entry[position] = before * factor
            norms.append(norm())
        entry[position] = before
        lost = (norms[1] - norms[0]) / (2 * fraction)
        assert 2 * scores[name].flat[position] == pytest.approx(lost, rel=1e-5), name


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batch_size_does_not_matter(case: Case, size: int) -> None:
    for found, expected in [
        (case.gradient(size), case.gradient()),
        (case.hessian_gradient(size), case.hessian_gradient()),
    ]:
        for name, tensor in found.items():
            assert relative_error(tensor, expected[name]) < 1e-12, name


def test_products_with_each_batchs_own_gradient_are_something_else(case: Case) -> None:
    """The trap: had the code fallen into it, the two would agree."""
    wrong = {name: torch.zeros_like(weight) for name, weight in case.weights.items()}
    for batch in case.batches(1):
        own = gradient(case.model, case.head, [batch], loss=case.loss)
        product = hessian_gradient(case.model, case.head, [batch], loss=case.loss, prior=own)
        for name, tensor in product.items():
            wrong[name] += tensor / 5
    assert max(relative_error(wrong[n], right) for n, right in case.hessian_gradient().items()) > 0.1


def test_a_subset_of_the_layers(case: Case) -> None:
    """The gradient of a layer does not change; H g is of the matrix of those layers alone."""
    some = list(case.weights)[1::2]
    arguments = (case.model, case.head, case.batches())
    first = gradient(*arguments, loss=case.loss, parameters=some)
    everything = case.gradient()
    assert list(first) == some
    assert all(relative_error(first[name], everything[name]) < 1e-12 for name in some)
    second = hessian_gradient(*arguments, loss=case.loss, parameters=some, prior=first)
    padded = {name: g if name in some else torch.zeros_like(g) for name, g in everything.items()}
    expected = case.hessian_gradient(prior=padded)
    for name in some:
        assert relative_error(second[name], expected[name]) < 1e-12


def test_float32_models_accumulate_in_what_is_asked_for() -> None:
    model, head, batches = four_weights()
    for asked, got in [(torch.float16, torch.float32), (torch.float64, torch.float64)]:
        first = gradient(model, head, batches, dtype=asked)
        assert first["weight"].dtype == got
        second = hessian_gradient(model, head, batches, dtype=asked, prior=first)
        assert second["weight"].dtype == got


def test_a_shared_weight_is_one_weight() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    images, labels = torch.randn(3, 2), torch.tensor([0, 1, 1])
    found = gradient(model, (torch.eye(2), torch.zeros(2)), [(images, labels)])
    square = model[0].weight @ model[0].weight
    (exact,) = torch.autograd.grad(loss_by_hand(images @ square.T, labels, "squared_error"), model[0].weight)
    assert list(found) == ["0.weight"] and relative_error(found["0.weight"], exact) < 1e-5


def test_a_gradient_that_is_not_given_is_computed_first(case: Case) -> None:
    """With the settings and for the weights of the request; the bits are those of one that was given."""
    some = tuple(list(case.weights)[1::2])
    for names in (None, some):
        given = gradient(case.model, case.head, case.batches(), loss=case.loss, parameters=names)
        asked = {"loss": case.loss, "parameters": names}
        expected = hessian_gradient(case.model, case.head, case.batches(), prior=given, **asked)
        found = hessian_gradient(case.model, case.head, case.batches(), **asked)
        assert list(found) == list(expected) and all(torch.equal(found[n], expected[n]) for n in expected)


def test_an_iterator_serves_one_pass_only() -> None:
    model, head, batches = four_weights()
    with pytest.raises(ObtransferError, match="twice and needs batches that allow it; got an iterator"):
        hessian_gradient(model, head, iter(batches))


def test_a_gradient_must_fit() -> None:
    model, head, batches = four_weights()
    for first, message in [
        ({}, "weight: missing"),
        ({"weight": torch.ones(4)}, r"weight: needed shape \[2, 2\], got \[4\]"),
        ({"weight": torch.ones(2, 2), "more": torch.ones(1)}, "more: not among the weights"),
        ({"weight": torch.full((2, 2), torch.nan)}, r"NaN or infinity in weight \(4 of 4\)"),
    ]:
        with pytest.raises(ObtransferError, match=message):
            hessian_gradient(model, head, batches, prior=first)
