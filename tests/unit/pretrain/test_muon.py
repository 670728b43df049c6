"""Muon: the update is orthogonal up to its factor, in every orientation."""

import pytest
import torch
from obtransfer.pretrain.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonal_keeps_singular_vectors_and_levels_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonal(matrix) @ vt.T
    assert ((inner.diagonal() > 0.4) & (inner.diagonal() < 1.3)).all()
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-4


def test_two_steps_follow_the_formula() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 9), [torch.randn(4, 9), torch.randn(4, 9)]
    weight = torch.nn.Parameter(start.clone())
    optimiser = Muon([weight], lr=0.1, weight_decay=0.5, momentum=0.9)
    expected, memory = start.clone(), torch.zeros(4, 9)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimiser.step()
        memory = 0.9 * memory + gradient
        expected = expected * 0.95 - 0.1 * 0.2 * 3 * orthogonal(gradient + 0.9 * memory)
    torch.testing.assert_close(weight.data, expected)
