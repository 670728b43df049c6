"""The loss of the data, batch by batch, as scalars to differentiate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import fitting_head, known, some_examples
from obtransfer.curvature.losses import Loss
from obtransfer.errors import ObtransferError
from obtransfer.models.contexts import evaluation_mode
from obtransfer.registry import LOSSES, resolve

Progress = Callable[[int], None]


def visit_losses(
    visit: Callable[[Tensor], None],
    model: nn.Module,
    head_weight: Tensor,
    head_bias: Tensor,
    batches: Iterable[Sequence[Tensor]],
    *,
    weights: Mapping[str, Tensor],
    loss: str,
    progress: Progress | None,
) -> int:
    """Call `visit` with Σ_n ℓ(f(x_n), y_n) of every batch, differentiable by `weights` and nothing else.

    Sums, not means: divided by the number of all examples in the end, the result does not depend on the
    batches.

    Args:
        visit: differentiates the scalar it is given; the graph is gone afterwards.
        model: images [B, 3, H, W] -> features [B, D], in evaluation mode meanwhile; left bit-identical.
        head_weight: [K, D].
        head_bias: [K].
        batches: (images [B, 3, H, W], labels [B], ...); gone through once; what follows the labels is not
            read.
        weights: the parameters to differentiate by.
        loss: a key of `obtransfer.registry.LOSSES`.
        progress: called after each batch with the number of examples done so far.

    Returns:
        The number of examples, at least 1.

    Raises:
        ObtransferError: no such loss, no examples, labels or a head that do not fit, or a model that returns
            something else than features.
    """
    chosen: Loss = resolve(known(loss, LOSSES, "loss"))
    device = next(iter(weights.values())).device
    done = 0
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(model, list(weights.values())):
        for images, labels, *_ in batches:
            if not len(images):
                continue
            features = _features(model, images.detach().to(device))
            weight, bias = fitting_head(features, head_weight, head_bias)
            visit(chosen.value(features @ weight.T + bias, labels).sum())
            done += len(images)
            if progress is not None:
                progress(done)
    some_examples(done)
    return done


def gradients(loss: Tensor, weights: Mapping[str, Tensor], *, again: bool = False) -> dict[str, Tensor]:
    """∂loss/∂w of every weight.

    Args:
        loss: a scalar; its graph is gone afterwards, unless the result is to be differentiated.
        weights: name to parameter.
        again: whether the result is to be differentiated once more.

    Raises:
        ObtransferError: names the weights that the scalar does not depend on.
    """
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=again, allow_unused=True)
    unused = [name for name, gradient in zip(weights, found, strict=True) if gradient is None]
    if unused:
        raise ObtransferError(
            f"curvature needs weights that the model's output depends on; these never reach it: "
            f"{', '.join(unused)}. Leave them out of `parameters`"
        )
    return dict(zip(weights, found, strict=True))


def zeros(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Totals to add to, each of its weight's shape and on its device."""
    return {name: torch.zeros_like(weight, dtype=dtype) for name, weight in weights.items()}


def _features(model: nn.Module, images: Tensor) -> Tensor:
    features = model(images)
    if not isinstance(features, Tensor) or not features.requires_grad:
        raise ObtransferError(
            "curvature needs a forward that returns features [B, D] which depend on the weights; got "
            f"{'a tensor without gradient' if isinstance(features, Tensor) else type(features).__name__}"
        )
    return features
