"""`mc_fisher`: the generalised Gauss-Newton matrix, by sampled vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, doc

from obtransfer.curvature.estimators.base import Estimator
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.outputs import Outputs


def mc_fisher(
    outputs: Outputs,
    *,
    num_samples: Annotated[int, Ge(1), doc("number of vectors that mc_fisher draws for each image")] = 1,
    seed: int = 0,
) -> Tensor:
    """S drawn vectors v_s / √S with E[v vᵀ] = ∂²ℓ/∂f², for every example.

    H = 1/(N S) Σ_n Σ_s (J_nᵀ v_ns)(J_nᵀ v_ns)ᵀ, whose expectation is `ggn`. Squared error: v ~ N(0, I_K).
    Cross-entropy: v = p − onehot(y) with y ~ p, the model's own distribution. Given labels are not read. Cost:
    one forward and S backward passes over the data.

    Trap: the draws belong to the example (a function of seed and index), so that neither batches nor shares of
    the data change them; two data sets with the same indices and seed share their draws.

    Source: Martens and Grosse, *Optimizing neural networks with Kronecker-factored approximate curvature*, 2015,
    sec. 5.

    Args:
        outputs: all but `labels`.
        num_samples: S.
        seed: of the draws.

    Returns:
        [S, B, K].

    Raises:
        ObtransferError: S < 1.
    """
    if num_samples < 1:
        raise ObtransferError(
            f"mc_fisher needs at least one draw per example; got num_samples = {num_samples}"
        )
    return outputs.loss.sample(outputs.logits, num_samples, seed, outputs.indices) / num_samples**0.5


ESTIMATOR = Estimator("sampled Gauss-Newton", mc_fisher)
