"""`gradient`: the mean gradient of the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import accumulation_dtype, means
from obtransfer.curvature.weights import selected_weights
from obtransfer.curvature.whole_loss import Progress, gradients, visit_losses, zeros


def accumulate(
    model: nn.Module,
    head_weight: Tensor,
    head_bias: Tensor,
    batches: Iterable[Sequence[Tensor]],
    *,
    loss: str = "squared_error",
    num_probes: int = 100,
    seed: int = 0,
    first: Mapping[str, Tensor] | None = None,
    parameters: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """g = 1/N Σ_n ∂ℓ(f(x_n), y_n)/∂w over all the examples: what `snip` reads, and `hessian_gradient`.

    Trap: at a trained network g is nearly 0, and what is left is noise of the examples; with opposite signs
    they cancel, unlike in the Fisher matrices, which square per example.

    Source: Lee, Ajanthan, Torr, *SNIP*, 2019, sec. 4. Cost: one forward and backward pass over the data;
    memory: that of a training step, and the statistic.

    Args:
        model: images [B, 3, H, W] -> features [B, D]; left bit-identical.
        head_weight: [K, D].
        head_bias: [K].
        batches: (images [B, 3, H, W], labels [B], ...).
        loss: a key of `obtransfer.registry.LOSSES`.
        num_probes: not read, as are `seed` and `first`.
        parameters: names of Conv2d and Linear weights; None for all of them.
        dtype: accumulate in this, float32, or the parameter's, whichever is most precise.
        progress: called after each batch with the number of examples done so far.

    Returns:
        Parameter name -> tensor of the parameter's shape, of any sign.

    Raises:
        ObtransferError: what `visit_losses` and `means` refuse, or weights that the loss does not depend on.
    """
    weights = selected_weights(model, parameters)
    totals = zeros(weights, accumulation_dtype(dtype, weights))

    def visit(total: Tensor) -> None:
        for name, gradient in gradients(total, weights).items():
            totals[name].add_(gradient)

    done = visit_losses(
        visit, model, head_weight, head_bias, batches, weights=weights, loss=loss, progress=progress
    )
    return means(totals, done)
