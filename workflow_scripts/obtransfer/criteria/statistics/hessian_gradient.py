"""`hessian_gradient`: the Hessian times the mean gradient, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import accumulation_dtype, finite, means
from obtransfer.curvature.hessian_products import hessian_products
from obtransfer.curvature.weights import selected_weights
from obtransfer.curvature.whole_loss import Progress, zeros
from obtransfer.errors import ObtransferError


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
    """H g = ½ ∂‖g‖²/∂w, with H = ∇² and g = ∇ of 1/N Σ_n ℓ(f(x_n), y_n): what `grasp` reads.

    Trap: g is the mean over *all* the examples, which must be there before the first product: the product of
    a batch's Hessian with its own gradient, averaged, is something else and depends on the batch size.

    Source: Wang, Zhang, Grosse, *Picking winning tickets before training by preserving gradient flow*, 2020,
    sec. 4. Cost: one pass over the data, of one forward, one differentiable backward and one backward pass
    through both; memory: that graph of one batch, and three times the weights.

    Args:
        model: images [B, 3, H, W] -> features [B, D]; left bit-identical.
        head_weight: [K, D].
        head_bias: [K].
        batches: (images [B, 3, H, W], labels [B], ...): the same examples that `first` was made of.
        loss: a key of `obtransfer.registry.LOSSES`, the same as for `first`.
        num_probes: not read, as is `seed`.
        first: g, the statistic `gradient` of the same weights.
        parameters: names of Conv2d and Linear weights; None for all of them.
        dtype: accumulate in this, float32, or the parameter's, whichever is most precise.
        progress: called after each batch with the number of examples done so far.

    Returns:
        Parameter name -> tensor of the parameter's shape, of any sign.

    Raises:
        ObtransferError: `first` missing or not fitting, and all that `hessian_products` and `means` refuse.
    """
    weights = selected_weights(model, parameters)
    vector = _fitting(first, weights)
    totals = zeros(weights, accumulation_dtype(dtype, weights))

    def add(name: str, _: Tensor, product: Tensor) -> None:
        totals[name].add_(product)

    done = hessian_products(
        add, model, head_weight, head_bias, batches, vectors=lambda _: vector, num_vectors=1,
        weights=weights, loss=loss, progress=progress,
    )  # fmt: skip
    return means(totals, done)


def _fitting(first: Mapping[str, Tensor] | None, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """
    Raises:
        ObtransferError: none, or lists every layer that is missing, unexpected, of another shape or not
            finite.
    """
    if first is None:
        raise ObtransferError(
            "hessian_gradient needs the mean gradient of the same examples as `first`, but got none; "
            "compute the statistic gradient before"
        )
    problems = [f"{name}: missing" for name in weights if name not in first]
    problems += [f"{name}: not among the weights" for name in first if name not in weights]
    problems += [
        f"{name}: needed shape {list(weight.shape)}, got {list(first[name].shape)}"
        for name, weight in weights.items()
        if name in first and first[name].shape != weight.shape
    ]
    if problems:
        raise ObtransferError(
            f"hessian_gradient needs the gradient of the very weights it treats, but: {'; '.join(problems)}. "
            "Compute the statistic gradient again for this backbone"
        )
    finite(first)
    return first
