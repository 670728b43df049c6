"""Curvature of the squared loss of a model with a frozen linear head: the way into this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from obtransfer.curvature import block, diagonal
from obtransfer.curvature.engine import LayerHooks
from obtransfer.curvature.frozen import on_loan
from obtransfer.curvature.layers import select_layers
from obtransfer.curvature.operands import Operands
from obtransfer.errors import ObtransferError
from obtransfer.registry import ESTIMATORS
from obtransfer.resolve import resolve

OutputVectors = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, K], labels [B]) -> [S, B, K]: what an estimator is."""


class Structure(NamedTuple):
    """The part of the matrix that is kept: zeros for a weight, and adding a batch's examples in place."""

    allocate: Callable[[Tensor, int, torch.dtype], Tensor]
    add: Callable[[Tensor, Operands, int], None]


STRUCTURES: dict[str, Structure] = {
    "diagonal": Structure(diagonal.allocate, diagonal.add),
    "block": Structure(block.allocate, block.add),
}

_Value = TypeVar("_Value")


def compute_curvature(
    model: nn.Module,
    head_weight: Tensor,
    head_bias: Tensor,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    estimator: str,
    structure: str,
    block_size: int = 16,
    parameters: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Estimate parts of H = ∇² 1/N Σ_n ½ ‖f(x_n) − onehot(y_n)‖² with f = φ(x; w) Wᵀ + b, layer by layer.

    The estimator gives vectors v_s of the outputs, and H = 1/N Σ_n Σ_s (J_nᵀ v_s)(J_nᵀ v_s)ᵀ with J_n =
    ∂f(x_n)/∂w: a mean over examples of per-example outer products. The result does not depend on batch size,
    order or training mode beyond rounding. BatchNorm is in evaluation mode; the model comes back as it was.

    Trap: the mean is over examples, not over classes, and there is a ½: damping and scores carry over only
    between the same conventions.

    Source: METHODS "Curvature". Cost: one forward pass over the data and one backward pass per vector (1 for
    `empirical_fisher`, K for `ggn`), without weight gradients; memory: one batch's graph, the statistics
    (`block`: B times the weights), a few MiB of per-example gradients, and for several vectors up to 1 GiB of
    unfolded activations.

    Args:
        model: images [B, 3, H, W] -> features [B, D]; left bit-identical.
        head_weight: W [K, D].
        head_bias: b [K].
        batches: (images [B, 3, H, W], labels [B]); moved to the model's device; gone through once.
        estimator: a key of `obtransfer.registry.ESTIMATORS`.
        structure: `diagonal` or `block`.
        block_size: B, used by `block`.
        parameters: names of Conv2d and Linear weights; None for all of them.
        dtype: accumulate in this, float32, or the parameter's, whichever is most precise.
        progress: called after each batch with the number of examples done so far.

    Returns:
        Parameter name -> `diagonal`: the parameter's shape, >= 0; `block`: [ceil(n/B), B, B], symmetric,
            zero-padded.

    Raises:
        ObtransferError: unknown names, block size < 1, a layer that cannot be treated, a head that does not
            fit the features, no examples, or statistics that are not finite.
    """
    output_vectors: OutputVectors = resolve(_known(estimator, ESTIMATORS, "estimator"))
    kind = _known(structure, STRUCTURES, "structure")
    if block_size < 1:
        raise ObtransferError(f"curvature blocks need a size of at least 1; got block_size = {block_size}")
    layers = select_layers(model, parameters)
    weights = {name: _weight(module) for name, module in layers.items()}
    device = next(iter(weights.values())).device
    dtype = _accumulation_dtype(dtype, weights)
    totals = {name: kind.allocate(weight, block_size, dtype) for name, weight in weights.items()}

    def consume(name: str, operands: Operands) -> None:
        kind.add(totals[name], operands, block_size)

    done = 0
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        on_loan(model, list(weights.values())),
        closing(LayerHooks(layers, dtype, consume)) as hooks,
    ):
        for images, labels in batches:
            if not len(images):
                continue
            features = hooks.forward(model, images.to(device))
            weight, bias = _fitting_head(features, head_weight, head_bias)
            with torch.no_grad():
                vectors = output_vectors(features @ weight.T + bias, labels) @ weight
            hooks.backward(features, list(vectors))
            done += len(images)
            if progress is not None:
                progress(done)
    return _means(totals, done)


def _known(name: str, registry: Mapping[str, _Value], what: str) -> _Value:
    if name not in registry:
        raise ObtransferError(f"no curvature {what} {name!r}; there are: {', '.join(registry)}")
    return registry[name]


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)  # select_layers has seen to it
    return weight


def _accumulation_dtype(dtype: torch.dtype, weights: Mapping[str, Tensor]) -> torch.dtype:
    for other in (torch.float32, *(weight.dtype for weight in weights.values())):
        dtype = torch.promote_types(dtype, other)
    return dtype


def _fitting_head(features: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The head in the features' dtype and on their device.

    Raises:
        ObtransferError: shapes that do not fit.
    """
    fits = features.dim() == 2 and weight.dim() == 2 and features.shape[1] == weight.shape[1]
    if not fits or bias.shape != weight.shape[:1]:
        raise ObtransferError(
            "curvature needs features [B, D], a head weight [K, D] and bias [K]; got features "
            f"{tuple(features.shape)}, weight {tuple(weight.shape)}, bias {tuple(bias.shape)}: "
            "use the head that was fitted on this backbone"
        )
    weight, bias = weight.detach(), bias.detach()
    return weight.to(features.device, features.dtype), bias.to(features.device, features.dtype)


def _means(totals: dict[str, Tensor], num_examples: int) -> dict[str, Tensor]:
    """Divide by the number of examples, in place.

    Raises:
        ObtransferError: no examples, or NaN or infinite values.
    """
    if num_examples == 0:
        raise ObtransferError("curvature needs at least one calibration example; the batches were empty")
    broken = {name: int((~total.isfinite()).sum()) for name, total in totals.items()}
    broken = {name: count for name, count in broken.items() if count}
    if broken:
        listed = ", ".join(f"{name} ({count} of {totals[name].numel()})" for name, count in broken.items())
        raise ObtransferError(
            f"curvature needs finite statistics; NaN or infinite: {listed}. Look for such "
            "values in the images, the weights and the head"
        )
    return {name: total.div_(num_examples) for name, total in totals.items()}
