"""Put masks on models."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from obtransfer.errors import ObtransferError
from obtransfer.models.prunable import prunable_parameters


def apply_mask(model: nn.Module, mask: Mapping[str, np.ndarray]) -> None:
    """Set the removed weights of `model` to zero, in place.

    Args:
        model: its prunable weights are changed, nothing else.
        mask: name to bool array, True = keep: one for every prunable parameter, no other.

    Raises:
        ObtransferError: lists every layer that is missing, unexpected, or of another shape or type.
    """
    hold(model, mask)()


def hold(model: nn.Module, mask: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """Check the mask once, and return a function that puts it on, to be called after every optimiser step.

    Momentum and weight decay revive removed weights, so once is not enough. The function is bound to the
    parameters the model has now, on their device: after ``model.to(...)`` to another device or a copy, ask
    for a new one.

    Args:
        model: changed by the returned function only.
        mask: as for `apply_mask`.

    Returns:
        A function without arguments that sets the removed weights to +0, in place, invisible to autograd.

    Raises:
        ObtransferError: as `apply_mask`.
    """
    parameters = dict(model.named_parameters())
    _check(mask, {name: tuple(parameters[name].shape) for name in prunable_parameters(model)})
    # Filling, not multiplying: -1 * 0 is -0, and NaN * 0 is NaN.
    removed = [
        (parameters[name], torch.from_numpy(~np.asarray(layer)).to(parameters[name].device))
        for name, layer in mask.items()
    ]

    @torch.no_grad()
    def put_on() -> None:
        for parameter, gone in removed:
            parameter.masked_fill_(gone, 0.0)

    return put_on


def _check(mask: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    problems = [f"{name}: missing from the mask" for name in shapes if name not in mask]
    problems += [
        f"{name}: in the mask, but not a prunable weight of the model" for name in mask if name not in shapes
    ]
    for name in [name for name in mask if name in shapes]:
        if mask[name].shape != shapes[name]:
            problems.append(f"{name}: mask {list(mask[name].shape)}, weight {list(shapes[name])}")
        if mask[name].dtype != np.bool_:
            problems.append(f"{name}: mask is {mask[name].dtype}, not bool")
    if problems:
        raise ObtransferError(f"the mask does not fit the model: {'; '.join(problems)}")
