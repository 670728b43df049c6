"""Values and derivatives of the losses against plain torch and autograd; draws against their second moment."""

from __future__ import annotations

import pytest
import torch
from exact_outputs import value
from obtransfer.curvature.losses import Loss
from obtransfer.errors import ObtransferError
from obtransfer.registry import LOSSES, resolve
from torch import Tensor

BOTH = pytest.mark.parametrize("name", list(LOSSES))


def loss_of(name: str) -> Loss:
    found: Loss = resolve(LOSSES[name])
    return found


def outputs(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    return logits, torch.tensor([0, 1, 2, 3, 0, 1])


@BOTH
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_value_and_derivatives(name: str, scale: float) -> None:
    loss, (logits, labels) = loss_of(name), outputs(scale)
    factors, values, residuals = (
        loss.factors(logits),
        loss.value(logits, labels),
        loss.residual(logits, labels),
    )
    assert factors.shape == (4, 6, 4)
    for index, (row, label) in enumerate(zip(logits, labels.tolist(), strict=True)):
        leaf = row.clone().requires_grad_()
        expected = value(name, leaf, label)
        (gradient,) = torch.autograd.grad(expected, leaf)
        hessian = torch.autograd.functional.hessian(lambda f, y=label: value(name, f, y), row)
        torch.testing.assert_close(values[index], expected.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(residuals[index], gradient, rtol=1e-12, atol=1e-14)
        second = sum(torch.outer(v, v) for v in factors[:, index])
        torch.testing.assert_close(second, hessian, rtol=1e-12, atol=1e-14)


def test_softmax_hessian_is_diag_p_minus_p_p() -> None:
    logits, _ = outputs()
    for row, factors in zip(logits, loss_of("cross_entropy").factors(logits).transpose(0, 1), strict=True):
        p = row.exp() / row.exp().sum()
        torch.testing.assert_close(
            factors.T @ factors, torch.diag(p) - torch.outer(p, p), rtol=1e-12, atol=1e-14
        )


@BOTH
def test_value_can_be_differentiated_twice(name: str) -> None:
    loss, (logits, labels) = loss_of(name), outputs()
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss.value(leaf, labels).sum(), leaf, create_graph=True)
    torch.testing.assert_close(gradient.detach(), loss.residual(logits, labels), rtol=1e-12, atol=1e-14)
    (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
    factors = loss.factors(logits)
    expected = 2 * torch.einsum("kbi,kbj,bj->bi", factors, factors, loss.residual(logits, labels))
    torch.testing.assert_close(second, expected, rtol=1e-12, atol=1e-14)


def test_confident_float32_outputs_keep_their_digits() -> None:
    """1 − p in float32 is 0 where p rounds to 1; the sum of the others is not."""
    logits = torch.tensor([[25.0, 0.0, 1.0]])
    p = logits.double().softmax(dim=1)[0]
    residual = loss_of("cross_entropy").residual(logits, torch.tensor([0]))
    torch.testing.assert_close(residual[0, 0].double(), -(p[1] + p[2]), rtol=1e-5, atol=0)
    factor = loss_of("cross_entropy").factors(logits)[0, 0, 0]
    torch.testing.assert_close(factor.double(), p[0].sqrt() * (p[1] + p[2]), rtol=1e-5, atol=0)


@BOTH
def test_second_moment_of_the_draws_is_the_hessian(name: str) -> None:
    """Every entry of E[v vᵀ] within 4.5 standard errors of its own over 20 000 draws (96 entries)."""
    loss, (logits, _) = loss_of(name), outputs()
    draws = loss.sample(logits, 20_000, 5, torch.arange(6))
    products = draws[..., :, None] * draws[..., None, :]
    factors = loss.factors(logits)
    exact = torch.einsum("kbi,kbj->bij", factors, factors)
    errors = products.std(dim=0) / len(draws) ** 0.5
    assert ((products.mean(dim=0) - exact).abs() <= 4.5 * errors).all()
    assert (draws.mean(dim=0).abs() <= 4.5 * draws.std(dim=0) / len(draws) ** 0.5).all()


def test_drawn_labels_are_residuals_of_labels() -> None:
    logits, _ = outputs()
    draws = loss_of("cross_entropy").sample(logits, 3, 0, torch.arange(6))
    onehot = logits.softmax(dim=1) - draws
    assert torch.equal(onehot.round(), onehot.round().clamp(0, 1))
    torch.testing.assert_close(onehot, onehot.round(), rtol=0, atol=1e-14)
    torch.testing.assert_close(onehot.sum(dim=2), torch.ones(3, 6, dtype=torch.float64), rtol=0, atol=1e-14)


@BOTH
def test_a_draw_belongs_to_its_example(name: str) -> None:
    loss, (logits, _) = loss_of(name), outputs()
    indices = torch.tensor([5, 0, 2**40, 7, 3, 1])
    whole = loss.sample(logits, 3, 1, indices)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    torch.testing.assert_close(
        loss.sample(logits[order], 3, 1, indices[order]), whole[:, order], rtol=1e-14, atol=1e-14
    )
    for index in range(6):
        alone = loss.sample(logits[index : index + 1], 3, 1, indices[index : index + 1])
        torch.testing.assert_close(alone[:, 0], whole[:, index], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(loss.sample(logits, 1, 1, indices), whole[:1], rtol=1e-14, atol=1e-14)


@BOTH
def test_float32_outputs_give_float32(name: str) -> None:
    loss, (logits, labels) = loss_of(name), outputs()
    single = logits.float()
    for found in (loss.value(single, labels), loss.residual(single, labels), loss.factors(single)):
        assert found.dtype == torch.float32
    assert loss.sample(single, 2, 0, torch.arange(6)).dtype == torch.float32


@BOTH
@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 0], [-1, 0, 0, 0, 0, 0]])
def test_labels_out_of_range(name: str, labels: list[int]) -> None:
    loss, (logits, _) = loss_of(name), outputs()
    for function in (loss.value, loss.residual):
        with pytest.raises(ObtransferError, match=r"labels in \[0, 4\)"):
            function(logits, torch.tensor(labels))
