"""`empirical_fisher`: the second moment of the per-example gradients of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obtransfer.curvature.estimators.base import Estimator

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.outputs import Outputs


def empirical_fisher(outputs: Outputs) -> Tensor:
    """The residual of every example.

    H = 1/N Σ_n (J_nᵀ r_n)(J_nᵀ r_n)ᵀ with r_n = ∂ℓ/∂f: f(x_n) − onehot(y_n) for the squared error, softmax(f(x_n)) −
    onehot(y_n) for cross-entropy. Cost: one forward and one backward pass over the data.

    Trap: squared *per example*, then averaged; the square of a batch's mean gradient shrinks with the batch
    size. And where every residual vanishes so does this matrix, while `ggn` does not.

    Source: Kunstner et al., *Limitations of the empirical Fisher approximation*, 2019, eq. 3.

    Args:
        outputs: `logits` [B, K], `labels` [B] and `loss`.

    Returns:
        [1, B, K].

    Raises:
        ObtransferError: labels of another shape, not integers, or out of range.
    """
    return outputs.loss.residual(outputs.logits, outputs.labels)[None]


ESTIMATOR = Estimator("empirical Fisher", empirical_fisher)
