"""`ggn`: the generalised Gauss-Newton matrix, exactly."""

from __future__ import annotations

import torch
from torch import Tensor


def output_vectors(logits: Tensor, labels: Tensor) -> Tensor:
    """The K unit vectors of the outputs, for every example.

    H = 1/N Σ_n J_nᵀ J_n = 1/N Σ_n Σ_k (J_nᵀ e_k)(J_nᵀ e_k)ᵀ, with J_n = ∂f(x_n)/∂w [K, P]: the Hessian of the
    squared loss ½ ‖f(x) − y‖² without the term of the residual. Labels are not read. Cost: one forward and K
    backward passes over the data.

    Trap: no factor 2 and no 1/K; both appear where the loss is written without ½ or as a mean over classes.

    Source: METHODS "Curvature"; Martens, *New insights and perspectives on the natural gradient method*,
    2020, sec. 8.

    Args:
        logits: f(x) [B, K]; only shape, dtype and device matter.
        labels: ignored.

    Returns:
        [K, B, K], not to be written to (every example shares one identity matrix).
    """
    size, classes = logits.shape
    identity = torch.eye(classes, dtype=logits.dtype, device=logits.device)
    return identity[:, None, :].expand(classes, size, classes)
