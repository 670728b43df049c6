"""`ggn`: the generalised Gauss-Newton matrix, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obtransfer.curvature.estimators.base import Estimator

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.outputs import Outputs


def ggn(outputs: Outputs) -> Tensor:
    """K factors v_k of the loss's second derivative in the outputs, Σ_k v_k v_kᵀ = ∂²ℓ/∂f², for every example.

    H = 1/N Σ_n J_nᵀ (∂²ℓ/∂f²)_n J_n with J_n = ∂f(x_n)/∂w [K, P]: the Hessian of the loss without the term of
    the residual. Squared error: unit vectors, H = 1/N Σ_n J_nᵀ J_n. Cross-entropy: √p_k (e_k − p), which makes it
    the Fisher matrix. Labels are not read. Cost: one forward and K backward passes over the data.

    Trap: no factor 2 and no 1/K; both appear where the squared error is written without ½ or as a mean over
    classes.

    Source: Martens, *New insights and perspectives on the natural gradient method*, 2020, sec. 8.

    Args:
        outputs: `logits` [B, K] and `loss`.

    Returns:
        [K, B, K], not to be written to (every example may share one identity matrix).
    """
    return outputs.loss.factors(outputs.logits)


ESTIMATOR = Estimator("generalised Gauss-Newton", ggn)
