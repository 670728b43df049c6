"""Derivatives of the loss of all examples by chosen weights, batch by batch, for any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from obtransfer.curvature.checks import some_examples
from obtransfer.curvature.examples import Examples, accumulation_dtype, check_features
from obtransfer.curvature.per_example.layers import batch_mixing
from obtransfer.errors import ObtransferError, listed
from obtransfer.models.contexts import evaluation_mode
from obtransfer.models.prunable import prunable_parameters

Weights = Mapping[str, Tensor]


def selected_weights(examples: Examples) -> dict[str, Tensor]:
    """The requested weights of Conv2d and Linear layers, in the order asked for.

    A weight that several layers share is one weight here, and its derivatives are those of all its uses.

    Raises:
        ObtransferError: no such weights, with every name that is not one; or BatchNorm layers without running
            statistics, which mix the examples of a batch also in evaluation mode.
    """
    model, prunable = examples.model, prunable_parameters(examples.model)
    names = prunable if examples.parameters is None else list(examples.parameters)
    if not names:
        raise ObtransferError(
            "curvature needs at least one Conv2d or Linear weight; got an empty list of parameters, or "
            f"{type(model).__name__}, which has none"
        )
    unknown = [name for name in names if name not in prunable]
    if unknown:
        raise ObtransferError(
            f"curvature needs weights of Conv2d and Linear layers; got {listed(unknown)}; leave these out of "
            "`parameters`"
        )
    mixing = batch_mixing(model)
    if mixing:
        raise ObtransferError(
            f"curvature needs examples that do not depend on the rest of their batch; got {listed(mixing)}; train with "
            "track_running_stats"
        )
    return {name: model.get_parameter(name) for name in names}


def visit_losses(visit: Callable[[Tensor], None], examples: Examples, weights: Weights) -> int:
    """Call `visit` with Σ_n ℓ(f(x_n), y_n) of every batch, differentiable by `weights` and nothing else.

    Sums, not means: divided by the number of all examples in the end, the result does not depend on the
    batches. The model is in evaluation mode meanwhile.

    Args:
        visit: differentiates the scalar it gets; the graph is gone afterwards.
        examples: gone through once.
        weights: the parameters to differentiate by.

    Returns:
        The number of examples, at least 1.

    Raises:
        ObtransferError: no examples, labels or a head that do not fit, or a model that returns something else
            than features.
    """
    device = next(iter(weights.values())).device
    done = 0
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        evaluation_mode(examples.model, list(weights.values())),
    ):
        for images, labels, *_ in examples.batches:
            if not len(images):
                continue
            features = check_features(examples.model(images.detach().to(device)))
            weight, bias = examples.head_of(features)
            visit(examples.loss.value(features @ weight.T + bias, labels).sum())
            done += len(images)
            examples.progress(done)
    some_examples(done)
    return done


def gradients(loss: Tensor, weights: Weights, *, again: bool = False) -> dict[str, Tensor]:
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
            "curvature needs weights that the model's output depends on; got weights that never reach it: "
            f"{listed(unused)}; leave them out of `parameters`"
        )
    return dict(zip(weights, found, strict=True))


def zeros(weights: Weights, dtype: torch.dtype) -> dict[str, Tensor]:
    """Totals to add to, each of its weight's shape and on its device, in the most precise of the types."""
    dtype = accumulation_dtype(dtype, weights)
    return {name: torch.zeros_like(weight, dtype=dtype) for name, weight in weights.items()}
