"""`hessian`: the diagonal of the true Hessian, estimated from products with random signs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, doc

from obtransfer.curvature.estimators.base import Estimator
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.examples import Examples


def hessian(
    examples: Examples,
    *,
    num_probes: Annotated[int, Ge(1), doc("number of random vectors of the estimator hessian")] = 100,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Hutchinson's estimate of the diagonal of H = ∇² 1/N Σ_n ℓ(f(x_n), y_n), with its sign.

    h = 1/S Σ_s z_s ⊙ (H z_s), with z_s random signs that depend on (seed, s, parameter name) alone. Unbiased;
    the variance of h_j is Σ_{i≠j} H_ij² / S, so an entry is known only where it is not small beside the rest
    of its row. H is that of the requested weights together: across layers too.

    Trap: H is not positive semi-definite, and the noise adds to that: with 100 probes about half of the
    entries may be negative. They are returned as they are; `obd` takes the treatment as its argument
    `negative`.

    Source: Bekas, Kokiopoulou, Saad, *An estimator for the diagonal of a matrix*, 2007.
    Cost: one pass over the data; per batch one forward pass, one differentiable backward pass and S backward
    passes through both. Memory: that graph of one batch, and four times the weights.

    Args:
        examples: gone through once.
        num_probes: S.
        seed: of the signs, 0 or more.

    Returns:
        Parameter name -> tensor of the parameter's shape, of any sign.

    Raises:
        ObtransferError: fewer than one probe, a negative seed, and all that `hessian_products` and `means`
            refuse.
    """
    from obtransfer.curvature.checks import means
    from obtransfer.curvature.hessian_products import hessian_products
    from obtransfer.curvature.whole_loss import selected_weights, zeros

    if num_probes < 1 or seed < 0:
        raise ObtransferError(
            f"hessian needs at least 1 probe and a seed of 0 or more; got num_probes = {num_probes}, seed = {seed}"
        )
    weights = selected_weights(examples)
    totals = zeros(weights, examples.dtype)

    def probe(index: int) -> dict[str, Tensor]:
        return {name: signs(name, weight.shape, index, seed) for name, weight in weights.items()}

    def add(name: str, vector: Tensor, product: Tensor) -> None:
        totals[name].add_(vector * product)

    done = hessian_products(add, examples, weights, probe, num_probes)
    return {name: mean.div_(num_probes) for name, mean in means(totals, done).items()}


def signs(name: str, shape: Sequence[int], probe: int, seed: int) -> Tensor:
    """+1 or −1 with equal chances, int8 of this shape: the same on every device and for any set of layers."""
    import torch

    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    stream = np.random.PCG64(np.random.SeedSequence([seed, probe, number]))
    count = int(np.prod(shape))
    # Raw words: unlike numpy's distributions, their order is promised never to change.
    words = np.asarray(stream.random_raw(-(-count // 64)), dtype="<u8")
    bits = np.unpackbits(words.view(np.uint8), count=count, bitorder="little")
    return torch.from_numpy(2 * bits.astype(np.int8) - 1).reshape(tuple(shape))


ESTIMATOR = Estimator("Hessian diagonal", hessian, fills=("diagonal",))
