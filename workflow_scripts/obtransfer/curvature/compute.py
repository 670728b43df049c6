"""Statistics of the loss of a model with a frozen linear head: the entry point of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import known
from obtransfer.curvature.estimators.base import LOSS
from obtransfer.curvature.examples import Examples, Head
from obtransfer.curvature.per_example.passes import per_example_statistic
from obtransfer.curvature.request import Request
from obtransfer.curvature.structures.base import parse
from obtransfer.errors import ObtransferError
from obtransfer.registry import ESTIMATORS, LOSSES, STRUCTURES, resolve


def compute_curvature(
    model: nn.Module,
    head: Head | None,
    batches: Iterable[Sequence[Tensor]],
    request: Request,
    *,
    prior: Mapping[str, Tensor] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Estimate parts of H = ∇² 1/N Σ_n ℓ(f(x_n), y_n) with f = φ(x; w) Wᵀ + b, or another statistic of the examples.

    ℓ is ½ ‖f − onehot(y)‖² or −log softmax(f)_y. Estimators whose function makes vectors v_s of the outputs give H =
    1/N Σ_n Σ_s (J_nᵀ v_s)(J_nᵀ v_s)ᵀ with J_n = ∂f(x_n)/∂w, layer by layer: a mean over examples of per-example outer
    products. For other estimators see the docstrings of their functions. The result does not depend on batch size,
    order or training mode beyond rounding. BatchNorm is in evaluation mode; the model comes back as it was.

    Trap: the mean is over examples, not over classes, and the squared error has a ½: damping and scores carry over
    only between the same conventions.

    Source: Martens, *New insights and perspectives on the natural gradient method*, 2020; docs/design.md, "Methods".
    Cost of vectors: one forward pass over the data and one backward pass per vector (1 for `empirical_fisher`, S for
    `mc_fisher`, K for `ggn`), without weight gradients. Memory: one batch's graph, the statistic
    (`obtransfer.curvature.plan`), a few MiB of per-example gradients, and for several vectors up to 1 GiB of
    unfolded activations.

    Args:
        model: images [B, 3, H, W] -> features [B, D]; left bit-identical.
        head: W [K, D] and b [K]; None where the model returns the logits.
        batches: (images [B, 3, H, W], labels [B]), whose examples are counted from 0, or (images, labels, indices [B]):
            draws belong to an index. Something that can be gone through twice where a prior is computed first.
        request: what to compute.
        prior: the statistic of `request.prior`; None: computed first.
        progress: called after each batch with the number of examples done so far.

    Returns:
        On the model's device, under the parameter's name: `diagonal`: the parameter's shape, >= 0; `block`: [ceil(n/B),
        B, B], symmetric, zero-padded; `kfac`: under NAME:inputs [G, I', I'] and NAME:outputs [G, O, O]; `ekfac`: under
        NAME:input_basis, NAME:output_basis and NAME:eigenvalues [G, O, I'] >= 0; `per_weight`: the parameter's shape.

    Raises:
        ObtransferError: settings that do not exist or fit, a layer that cannot be treated, a prior or a head that does
            not fit, labels out of range where they are read, no examples, or statistics that are not finite.
    """
    if request.prior and prior is None:
        if isinstance(batches, Iterator):
            raise ObtransferError(
                f"{request.estimator} {request.structure} goes through the data twice and needs batches that allow it; "
                "got an iterator; give a list, a DataLoader or an object with __iter__"
            )
        found = compute_curvature(model, head, batches, request.prior, progress=progress)
        # As a file has them: sums over another layout have other last bits.
        prior = {name: tensor.contiguous() for name, tensor in found.items()}
    estimator, (name, options) = ESTIMATORS[request.estimator], parse(request.structure)
    arguments = estimator.arguments(request.options, seed=request.seed, prior=prior)
    examples = Examples(
        model,
        head,
        batches,
        loss=resolve(known(request.options.get("loss", LOSS.default), LOSSES, "loss")),
        parameters=request.parameters,
        dtype=request.dtype or torch.float32,
        progress=progress or (lambda done: None),
    )
    if estimator.makes_vectors:
        vectors = partial(estimator.function, **arguments)
        return per_example_statistic(examples, vectors, STRUCTURES[name], options, prior or {})
    result: dict[str, Tensor] = estimator.function(examples, **arguments)
    return result
