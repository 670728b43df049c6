"""`hessian`: the diagonal of the true Hessian, estimated from products with random signs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import accumulation_dtype, means
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
    """Hutchinson's estimate of the diagonal of H = ∇² 1/N Σ_n ℓ(f(x_n), y_n), with its sign.

    h = 1/S Σ_s z_s ⊙ (H z_s), with z_s random signs that depend on (seed, s, parameter name) alone. Unbiased;
    the variance of h_j is Σ_{i≠j} H_ij² / S, so an entry is known only where it is not small beside the rest
    of its row. H is that of the requested weights together: across layers too.

    Trap: H is not positive semi-definite, and the noise adds to that: with 100 probes about half of the
    entries may be negative (`negative_share`). They are returned as they are; `obd` takes the treatment as
    its argument `negative`.

    Source: METHODS "Curvature"; Bekas, Kokiopoulou, Saad, *An estimator for the diagonal of a matrix*, 2007.
    Cost: one pass over the data; per batch one forward pass, one differentiable backward pass and S backward
    passes through both. Memory: that graph of one batch, and four times the weights.

    Args:
        model: images [B, 3, H, W] -> features [B, D]; left bit-identical.
        head_weight: [K, D].
        head_bias: [K].
        batches: (images [B, 3, H, W], labels [B], ...).
        loss: a key of `obtransfer.registry.LOSSES`.
        num_probes: S.
        seed: 0 or more.
        first: not read.
        parameters: names of Conv2d and Linear weights; None for all of them.
        dtype: accumulate in this, float32, or the parameter's, whichever is most precise.
        progress: called after each batch with the number of examples done so far.

    Returns:
        Parameter name -> tensor of the parameter's shape, of any sign.

    Raises:
        ObtransferError: fewer than one probe, a negative seed, and all that `hessian_products` and `means`
            refuse.
    """
    if num_probes < 1 or seed < 0:
        raise ObtransferError(
            f"hessian needs at least 1 probe and a seed of 0 or more; got num_probes = {num_probes}, "
            f"seed = {seed}"
        )
    weights = selected_weights(model, parameters)
    totals = zeros(weights, accumulation_dtype(dtype, weights))

    def probe(index: int) -> dict[str, Tensor]:
        return {name: signs(name, weight.shape, index, seed) for name, weight in weights.items()}

    def add(name: str, vector: Tensor, product: Tensor) -> None:
        totals[name].add_(vector * product)

    done = hessian_products(
        add, model, head_weight, head_bias, batches, vectors=probe, num_vectors=num_probes,
        weights=weights, loss=loss, progress=progress,
    )  # fmt: skip
    return {name: mean.div_(num_probes) for name, mean in means(totals, done).items()}


def signs(name: str, shape: Sequence[int], probe: int, seed: int) -> Tensor:
    """+1 or −1 with equal chances, int8 of this shape: the same on every device and for any set of layers."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    stream = np.random.PCG64(np.random.SeedSequence([seed, probe, number]))
    count = int(np.prod(shape))
    # Raw words: unlike numpy's distributions, their order is promised never to change.
    words = np.asarray(stream.random_raw(-(-count // 64)), dtype="<u8")
    bits = np.unpackbits(words.view(np.uint8), count=count, bitorder="little")
    return torch.from_numpy(2 * bits.astype(np.int8) - 1).reshape(tuple(shape))


def negative_share(statistic: Mapping[str, Tensor]) -> dict[str, float]:
    """The fraction of negative entries of every layer, in [0, 1]."""
    return {name: int((values < 0).sum()) / values.numel() for name, values in statistic.items()}
