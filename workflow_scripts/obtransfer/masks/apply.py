"""Put masks on models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

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
    with torch.no_grad():
        for parameter, gone in _removed(model, mask):
            parameter.masked_fill_(gone, 0.0)


def hold(model: nn.Module, mask: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """Check the mask once, and return a function that puts it on, to be called after every optimiser step.

    Momentum and weight decay revive removed weights, so once is not enough. The function is bound to the
    parameters the model has now, where they lie: after ``model.to(...)`` or a copy, ask for a new one.

    Args:
        model: changed by the returned function only.
        mask: as for `apply_mask`.

    Returns:
        A function without arguments that sets the removed weights to +0, in place, invisible to autograd.

    Raises:
        ObtransferError: as `apply_mask`.
    """
    erase = [_eraser(parameter, gone) for parameter, gone in _removed(model, mask)]

    @torch.no_grad()
    def put_on() -> None:
        for one in erase:
            one()

    return put_on


def _eraser(parameter: nn.Parameter, gone: torch.Tensor) -> Callable[[], object]:
    """Sets the weights that are `gone` to +0.

    Not by multiplying: -1 * 0 is -0, and NaN * 0 is NaN. On a CPU the bits are masked, which takes an eighth of the time of
    filling and 4 bytes a weight.
    """
    if parameter.device.type == "cpu" and parameter.dtype == torch.float32:
        kept = gone.logical_not().to(torch.int32).neg_()  # all bits, or none
        return partial(parameter.detach().view(torch.int32).bitwise_and_, kept)
    return partial(parameter.masked_fill_, gone, 0.0)


def _removed(model: nn.Module, mask: Mapping[str, np.ndarray]) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    """Each masked parameter with where its weights are removed, laid out as the parameter is."""
    parameters = dict(model.named_parameters())
    _check(mask, {name: tuple(parameters[name].shape) for name in prunable_parameters(model)})
    for name, layer in mask.items():
        gone = torch.empty_like(parameters[name], dtype=torch.bool)
        yield parameters[name], gone.copy_(torch.from_numpy(~np.asarray(layer)))


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
