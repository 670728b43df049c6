"""`mc_fisher`: the generalised Gauss-Newton matrix, by sampled vectors."""

from __future__ import annotations

from torch import Tensor

from obtransfer.curvature.outputs import Outputs
from obtransfer.errors import ObtransferError


def output_vectors(outputs: Outputs) -> Tensor:
    """S drawn vectors v_s / √S with E[v vᵀ] = ∂²ℓ/∂f², for every example.

    H = 1/(N S) Σ_n Σ_s (J_nᵀ v_ns)(J_nᵀ v_ns)ᵀ, whose expectation is `ggn`. Squared error: v ~ N(0, I_K).
    Cross-entropy: v = p − onehot(y) with y ~ p, the model's own distribution. Given labels are not read. Cost:
    one forward and S backward passes over the data.

    Trap: the draws belong to the example (a function of seed and index), so that neither batches nor shares of
    the data change them; two data sets with the same indices and seed share their draws.

    Source: METHODS "Curvature"; Martens and Grosse, *Optimizing neural networks with Kronecker-factored
    approximate curvature*, 2015, sec. 5.

    Args:
        outputs: all but `labels`.

    Returns:
        [S, B, K].

    Raises:
        ObtransferError: S < 1.
    """
    samples = outputs.num_samples
    if samples < 1:
        raise ObtransferError(f"mc_fisher needs at least one draw per example; got num_samples = {samples}")
    return outputs.loss.sample(outputs.logits, samples, outputs.seed, outputs.indices) / samples**0.5
