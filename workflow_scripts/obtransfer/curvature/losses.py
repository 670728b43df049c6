"""The losses of a classifier, with the derivatives that curvature is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from obtransfer.curvature import noise
from obtransfer.curvature.checks import fitting_labels


class Loss(NamedTuple):
    """A per-example loss ℓ(f, y) of the logits f, and H_f = ∂²ℓ/∂f², which does not depend on the label.

    Labels are checked in `value` and `residual`, for their shape, type and range.

    Args:
        value: (logits [B, K], labels [B]) -> [B], ℓ; differentiable, twice.
        residual: (logits [B, K], labels [B]) -> [B, K], ∂ℓ/∂f.
        factors: logits [B, K] -> [K, B, K], v_k with Σ_k v_k v_kᵀ = H_f exactly; not to be written to.
        sample: (logits [B, K], S, seed, indices [B]) -> [S, B, K], v with E[v vᵀ] = H_f; without 1/√S. The draw
            of an example depends on the seed, its index and its logits alone.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    residual: Callable[[Tensor, Tensor], Tensor]
    factors: Callable[[Tensor], Tensor]
    sample: Callable[[Tensor, int, int, Tensor], Tensor]


def _onehot(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.one_hot(fitting_labels(logits, labels), logits.shape[1]).to(logits.dtype)


def _numpy(indices: Tensor) -> NDArray[np.int64]:
    found: NDArray[np.int64] = indices.detach().cpu().to(torch.int64).numpy()
    return found


def _squared_value(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits - _onehot(logits, labels)).square().sum(dim=1) / 2


def _squared_residual(logits: Tensor, labels: Tensor) -> Tensor:
    return logits - _onehot(logits, labels)


def _unit_vectors(logits: Tensor) -> Tensor:
    size, classes = logits.shape
    identity = torch.eye(classes, dtype=logits.dtype, device=logits.device)
    return identity[:, None, :].expand(classes, size, classes)


def _normal_vectors(logits: Tensor, num_samples: int, seed: int, indices: Tensor) -> Tensor:
    drawn = noise.normal(num_samples, seed, _numpy(indices), logits.shape[1])
    return torch.from_numpy(drawn).to(logits)


def _probabilities(logits: Tensor) -> Tensor:
    """In float64, where 1 − p of a confident prediction keeps its digits."""
    return logits.detach().double().softmax(dim=1)


def _cross_entropy_value(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, fitting_labels(logits, labels), reduction="none")


def _cross_entropy_residual(logits: Tensor, labels: Tensor) -> Tensor:
    probabilities = _probabilities(logits)
    return (probabilities - _onehot(probabilities, labels)).to(logits.dtype)


def _centred_classes(logits: Tensor) -> Tensor:
    """√p_k (e_k − p): their outer products add up to diag(p) − p pᵀ."""
    probabilities = _probabilities(logits)
    centred = torch.eye(logits.shape[1], dtype=torch.float64, device=logits.device)[:, None] - probabilities
    return (probabilities.sqrt().T[:, :, None] * centred).to(logits.dtype)


def _residuals_of_drawn_labels(logits: Tensor, num_samples: int, seed: int, indices: Tensor) -> Tensor:
    """p − onehot(y) with y drawn from the model's own p, by inverting its distribution function."""
    probabilities = _probabilities(logits)
    drawn = noise.uniform(num_samples, seed, _numpy(indices), 1)
    uniform = torch.from_numpy(drawn).to(logits.device)  # [S, B, 1]
    below = probabilities.cumsum(dim=1)[:, :-1] < uniform
    labels = functional.one_hot(below.sum(dim=2), logits.shape[1])
    return (probabilities - labels).to(logits.dtype)


squared_error = Loss(_squared_value, _squared_residual, _unit_vectors, _normal_vectors)
"""ℓ = ½ ‖f − onehot(y)‖², so H_f = 1. Trap: the ½ is there, and no mean over classes."""

cross_entropy = Loss(
    _cross_entropy_value, _cross_entropy_residual, _centred_classes, _residuals_of_drawn_labels
)
"""ℓ = −log softmax(f)_y, so H_f = diag(p) − p pᵀ. Trap: drawn labels come from the model, not from the data;
with the data's this is the empirical Fisher (Kunstner et al., 2019)."""
