"""Slow and obvious: per-example gradients by autograd, one example at a time, and full matrices of one layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Gradients = dict[str, Tensor]


def example_gradients(
    model: nn.Module, weight: Tensor, bias: Tensor, images: Tensor, labels: Tensor, names: Sequence[str]
) -> dict[str, Gradients]:
    """All per-example gradients, in evaluation mode: parameter -> [N, S, n].

    Returns:
        `ggn`: of each output (S = K); `empirical_fisher`: of the loss ½ ‖f(x) − onehot(y)‖² (S = 1).
    """
    model.eval()
    parameters = [model.get_parameter(name) for name in names]
    onehot = torch.eye(len(bias), dtype=weight.dtype)

    def rows(scalars: Callable[[Tensor, Tensor], Sequence[Tensor]]) -> Gradients:
        found: list[list[list[Tensor]]] = []
        for image, label in zip(images, labels, strict=True):
            logits = model(image[None])[0] @ weight.T + bias
            found.append([_gradients(scalar, parameters) for scalar in scalars(logits, onehot[label])])
        stacked = [[torch.stack([v[p] for v in example]) for example in found] for p in range(len(names))]
        return {name: torch.stack(layer) for name, layer in zip(names, stacked, strict=True)}

    return {
        "ggn": rows(lambda logits, target: logits.unbind()),
        "empirical_fisher": rows(lambda logits, target: [(logits - target).square().sum() / 2]),
    }


def _gradients(scalar: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    gradients: tuple[Any, ...] = torch.autograd.grad(scalar, parameters, retain_graph=True)
    return [gradient.flatten() for gradient in gradients]


def full_matrix(gradients: Tensor) -> Tensor:
    """1/N Σ_n Σ_s g_ns g_nsᵀ [n, n] of one layer's gradients [N, S, n]."""
    return torch.einsum("nsi,nsj->ij", gradients, gradients) / len(gradients)


def blocks_of(matrix: Tensor, block_size: int) -> Tensor:
    """Diagonal blocks, cut out one by one and padded with zeros: [ceil(n/B), B, B]."""
    count = -(-len(matrix) // block_size)
    blocks = matrix.new_zeros(count, block_size, block_size)
    for index in range(count):
        part = matrix[
            index * block_size : (index + 1) * block_size, index * block_size : (index + 1) * block_size
        ]
        blocks[index, : len(part), : len(part)] = part
    return blocks


def relative_error(computed: Tensor, exact: Tensor) -> float:
    """Largest deviation, relative to the largest entry."""
    return float((computed - exact).detach().abs().max() / exact.detach().abs().max())


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny products only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
