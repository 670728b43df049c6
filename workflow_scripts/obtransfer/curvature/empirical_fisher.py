"""`empirical_fisher`: the second moment of the per-example gradients of the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from obtransfer.errors import ObtransferError


def output_vectors(logits: Tensor, labels: Tensor) -> Tensor:
    """The residual of every example.

    H = 1/N Σ_n (J_nᵀ r_n)(J_nᵀ r_n)ᵀ with r_n = f(x_n) − onehot(y_n), the gradient of ½ ‖f(x_n) −
    onehot(y_n)‖². Cost: one forward and one backward pass over the data.

    Trap: squared *per example*, then averaged; the square of a batch's mean gradient shrinks with the batch
    size. And where every residual vanishes so does this matrix, while `ggn` does not.

    Source: METHODS "Curvature"; Kunstner et al., *Limitations of the empirical Fisher approximation*, 2019,
    eq. 3.

    Args:
        logits: f(x) [B, K].
        labels: [B], integers in [0, K).

    Returns:
        [1, B, K].

    Raises:
        ObtransferError: labels of another shape, not integers, or out of range.
    """
    size, classes = logits.shape
    if labels.shape != (size,) or labels.is_floating_point() or labels.is_complex():
        raise ObtransferError(
            f"empirical_fisher needs one integer label per example, shape ({size},); "
            f"got shape {tuple(labels.shape)} of {labels.dtype}"
        )
    labels = labels.to(device=logits.device, dtype=torch.long)
    if size and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        raise ObtransferError(
            f"empirical_fisher needs labels in [0, {classes}), the rows of the head; got labels from "
            f"{int(labels.min())} to {int(labels.max())}: give the head of the task that the images are from"
        )
    onehot = torch.nn.functional.one_hot(labels, classes).to(logits.dtype)
    return (logits - onehot)[None]
