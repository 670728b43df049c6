"""`hessian_gradient`: the Hessian times the mean gradient, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from obtransfer.curvature.estimators.base import Estimator
from obtransfer.errors import ObtransferError, listed

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.examples import Examples


def hessian_gradient(examples: Examples, *, prior: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """H g = ½ ∂‖g‖²/∂w, with H = ∇² and g = ∇ of 1/N Σ_n ℓ(f(x_n), y_n): what `grasp` reads.

    Trap: g is the mean over *all* the examples, which must be there before the first product: the product of
    a batch's Hessian with its own gradient, averaged, is something else and depends on the batch size.

    Source: Wang, Zhang, Grosse, *Picking winning tickets before training by preserving gradient flow*, 2020,
    sec. 4. Cost: one pass over the data, of one forward, one differentiable backward and one backward pass
    through both; memory: that graph of one batch, and three times the weights.

    Args:
        examples: gone through once; the same that `prior` was made of, with the same loss.
        prior: g, the statistic `gradient` of the same weights.

    Returns:
        Parameter name -> tensor of the parameter's shape, of any sign.

    Raises:
        ObtransferError: a `prior` that does not fit, and all that `hessian_products` and `means` refuse.
    """
    from obtransfer.curvature.checks import means
    from obtransfer.curvature.hessian_products import hessian_products
    from obtransfer.curvature.whole_loss import selected_weights, zeros

    weights = selected_weights(examples)
    _check(prior, weights)
    totals = zeros(weights, examples.dtype)

    def add(name: str, _: Tensor, product: Tensor) -> None:
        totals[name].add_(product)

    return means(totals, hessian_products(add, examples, weights, lambda _: prior))


def _check(prior: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """
    Raises:
        ObtransferError: lists every layer that is missing, unexpected, of another shape or not finite.
    """
    from obtransfer.curvature.checks import finite

    problems = [f"{name}: missing" for name in weights if name not in prior]
    problems += [f"{name}: not among the weights" for name in prior if name not in weights]
    problems += [
        f"{name}: needed shape {list(weight.shape)}, got {list(prior[name].shape)}"
        for name, weight in weights.items()
        if name in prior and prior[name].shape != weight.shape
    ]
    if problems:
        raise ObtransferError(
            f"hessian_gradient needs as `prior` the gradient of the weights that it treats; got {listed(problems, '; ')}; "
            "compute the statistic gradient again for this backbone"
        )
    finite(prior)


ESTIMATOR = Estimator(
    "Hessian-gradient product", hessian_gradient, fills=("per_weight",), prior="gradient.per_weight"
)
