"""Muon: momentum with an orthogonalised update, for the matrices of small transformers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """W ← (1 − lr · weight decay) W − lr · 0.2 √max(m, n) · orthogonal(G + μ M), with M ← μ M + G.

    The factor gives updates the root mean square that AdamW's typically have, so that both share one learning rate.
    `torch.optim.Muon` multiplies in bfloat16, which is slow on processors that lack it.

    Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024; the factor is that of Liu et al.,
    *Muon is Scalable for LLM Training*, 2025 (arXiv 2502.16982).

    Args:
        parameters: matrices [m, n].
        lr: learning rate.
        weight_decay: decoupled.
        momentum: μ.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step for every matrix with a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum"] = torch.zeros_like(matrix)
                state["momentum"].mul_(group["momentum"]).add_(matrix.grad)
                direction = orthogonal(matrix.grad.add(state["momentum"], alpha=group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Approximately U Vᵀ of the singular value decomposition U S Vᵀ: all singular values become 0.7 … 1.2.

    A quintic Newton–Schulz iteration of matrix products only.

    Args:
        matrix: [m, n], not changed.
        iterations: steps; five suffice.

    Returns:
        [m, n].
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x
