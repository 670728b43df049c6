"""`gradient`: the mean gradient of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obtransfer.curvature.estimators.base import Estimator

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.examples import Examples


def gradient(examples: Examples) -> dict[str, Tensor]:
    """g = 1/N Σ_n ∂ℓ(f(x_n), y_n)/∂w over all the examples: what `snip` reads, and `hessian_gradient`.

    Trap: at a trained network g is nearly 0, and what is left is noise of the examples; with opposite signs
    they cancel, unlike in the Fisher matrices, which square per example.

    Source: Lee, Ajanthan, Torr, *SNIP*, 2019, sec. 4. Cost: one forward and backward pass over the data;
    memory: that of a training step, and the statistic.

    Args:
        examples: gone through once.

    Returns:
        Parameter name -> tensor of the parameter's shape, of any sign.

    Raises:
        ObtransferError: what `visit_losses` and `means` refuse, or weights that the loss does not depend on.
    """
    from obtransfer.curvature.checks import means
    from obtransfer.curvature.whole_loss import gradients, selected_weights, visit_losses, zeros

    weights = selected_weights(examples)
    totals = zeros(weights, examples.dtype)

    def visit(total: Tensor) -> None:
        for name, gradient in gradients(total, weights).items():
            totals[name].add_(gradient)

    return means(totals, visit_losses(visit, examples, weights))


ESTIMATOR = Estimator("mean gradient", gradient, fills=("per_weight",))
