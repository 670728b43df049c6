"""`synflow`: how much of a signal of ones flows through each weight; no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obtransfer.curvature.estimators.base import Estimator
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from obtransfer.curvature.examples import Examples

_MULTIPLIED = ("weight", "gamma", "scale")
"""In the last part of the names of parameters that multiply; others are added: biases, tokens, positions."""

CANCELLED = 1e-9
"""A sum below this share of the absolute values is rounding, in float64."""


def synflow(examples: Examples) -> dict[str, Tensor]:
    """∂R/∂|w| with R the sum of the features that ones give when every weight is |w|: what `synflow` reads.

    Parameters that are added (biases, running means, position embeddings, tokens) are 0, those that multiply
    are replaced by their absolute values, so that BatchNorm multiplies by |γ|/σ; all other modules work as
    they are.

    Trap: R multiplies up over the depth and leaves float32's range, in both directions: all is done and
    returned in float64. Where there are norms over features or attention, R is no sum over paths, the
    derivative may be negative and flow is not conserved; and a last LayerNorm with equal scales makes every
    sum 0, which is refused.

    Source: Tanaka, Kunin, Yamins, Ganguli, *Pruning neural networks without any data by iteratively
    conserving synaptic flow*, 2020 (R_SF). Cost: one forward and backward pass of one image; memory: that,
    and four times the weights' own size in float32 for their copy and the statistic.

    Args:
        examples: the model, its parameters, and the shape of the first image; nothing else is read.

    Returns:
        Parameter name -> float64 tensor of the parameter's shape.

    Raises:
        ObtransferError: no image, weights that the features do not depend on, values beyond float64, features
            that cancel, or what `selected_weights` refuses.
    """
    import torch
    from torch.func import functional_call

    from obtransfer.curvature.checks import finite
    from obtransfer.curvature.whole_loss import gradients, selected_weights
    from obtransfer.models.contexts import evaluation_mode

    weights = selected_weights(examples)
    device = next(iter(weights.values())).device
    ones = torch.ones(1, *_shape(examples), dtype=torch.float64, device=device)
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(examples.model, []):
        substitutes = _substitutes(examples.model)
        # A weight of several names is substituted under its first one, for all of them.
        leaves = {name: substitutes[name].requires_grad_() for name in weights}
        features = functional_call(examples.model, substitutes, (ones,))
        found = gradients(_total(features), leaves)
    finite(found)
    return found


def _shape(examples: Examples) -> tuple[int, ...]:
    for images, *_ in examples.batches:
        return tuple(images.shape[1:])
    raise ObtransferError("synflow needs the shape of an image; got no images; give one batch of any values")


def _substitutes(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers in float64: absolute values of what multiplies, 0 for what is added."""
    copies: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        multiplied = any(word in name.rpartition(".")[2] for word in _MULTIPLIED)
        copies[name] = parameter.detach().double().abs() if multiplied else _zeros(parameter)
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] == "running_mean":
            copies[name] = _zeros(buffer)
        elif buffer.is_floating_point():
            copies[name] = buffer.double()
    return copies


def _zeros(like: Tensor) -> Tensor:
    return like.detach().double().zero_()


def _total(features: Tensor) -> Tensor:
    """
    Raises:
        ObtransferError: the sum is nothing but rounding.
    """
    total, size = features.sum(), features.abs().sum()
    if bool(total.abs() < CANCELLED * size):
        raise ObtransferError(
            f"synflow needs features with a sum; got {float(total.detach()):.3g} for absolute values of "
            f"{float(size.detach()):.3g} (a last LayerNorm with equal scales makes them cancel, and every score noise); "
            "choose another criterion"
        )
    return total


ESTIMATOR = Estimator("synaptic flow", synflow, fills=("per_weight",), data=False, loss=False)
