"""Which weights the estimators that go through the data by themselves treat, and what they must not meet."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from obtransfer.curvature.per_example.layers import batch_mixing
from obtransfer.errors import ObtransferError
from obtransfer.models.prunable import prunable_parameters


def selected_weights(model: nn.Module, parameters: Sequence[str] | None) -> dict[str, nn.Parameter]:
    """The requested weights of Conv2d and Linear layers.

    A weight that several layers share is one weight here, and its derivatives are those of all its uses:
    unlike the layer hooks, whole-loss derivatives have nothing against that.

    Args:
        model: not changed.
        parameters: names of `named_parameters`; None for the weights of all Conv2d and Linear layers.

    Returns:
        Parameter name -> parameter, in the order asked for.

    Raises:
        ObtransferError: no such weights, listing every name that is not one; or BatchNorm layers without
            running statistics, which mix the examples of a batch also in evaluation mode.
    """
    prunable = prunable_parameters(model)
    names = list(prunable) if parameters is None else list(parameters)
    if not names:
        raise ObtransferError(
            f"curvature needs at least one Conv2d or Linear weight; {type(model).__name__} has none, "
            "or an empty list of parameters was given"
        )
    unknown = [name for name in names if name not in prunable]
    if unknown:
        raise ObtransferError(
            f"curvature needs weights of Conv2d and Linear layers; got {', '.join(unknown)}: leave these "
            "out of `parameters`"
        )
    _refuse_batch_mixing(model)
    return {name: model.get_parameter(name) for name in names}


def _refuse_batch_mixing(model: nn.Module) -> None:
    mixing = batch_mixing(model)
    if mixing:
        raise ObtransferError(
            f"curvature is a mean over examples, but these mix those of a batch: {', '.join(mixing)}. Train with "
            "track_running_stats"
        )
