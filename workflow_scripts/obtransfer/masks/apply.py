"""Put masks on models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from obtransfer.errors import ObtransferError
from obtransfer.masks.mask import Kept, Mask
from obtransfer.models.prunable import prunable_parameters


@torch.no_grad()
def apply_mask(model: nn.Module, mask: Mask, *, complete: bool = True) -> None:
    """Set the removed weights of `model` to zero and the updated ones to their new values, in place.

    Args:
        model: its prunable weights are changed, nothing else.
        mask: has every prunable parameter and no other.
        complete: if False, prunable parameters that the mask lacks stay dense.

    Raises:
        ObtransferError: lists every layer that is missing, unexpected, or of another shape or type.
    """
    for parameter, gone in _removed(model, mask.kept, complete):
        parameter.masked_fill_(gone, 0.0)
    for name, array in mask.updated.items():
        model.get_parameter(name).copy_(torch.from_numpy(array))


def hold(model: nn.Module, mask: Mask, *, complete: bool = True) -> Callable[[], None]:
    """Check the mask once and return a function that removes its weights, to be called after every optimiser step.

    Momentum and weight decay revive removed weights, so once is not enough. The function is bound to the
    parameters the model has now, where they lie: after ``model.to(...)`` or a copy, ask for a new one.

    Args:
        model: changed by the returned function only.
        mask: as for `apply_mask`; its updated values are not read.
        complete: as for `apply_mask`.

    Returns:
        A function without arguments that sets the removed weights to +0, in place, invisible to autograd.

    Raises:
        ObtransferError: as `apply_mask`.
    """
    erase = [_eraser(parameter, gone) for parameter, gone in _removed(model, mask.kept, complete)]

    @torch.no_grad()
    def erase_all() -> None:
        for one in erase:
            one()

    return erase_all


def _eraser(parameter: nn.Parameter, gone: torch.Tensor) -> Callable[[], object]:
    """Sets the weights that are `gone` to +0.

    A product would not do: -1 * 0 is -0, and NaN * 0 is NaN. On a CPU the bits are masked, which takes an eighth of the
    time of filling and 4 bytes a weight.
    """
    if parameter.device.type == "cpu" and parameter.dtype == torch.float32:
        kept = gone.logical_not().to(torch.int32).neg_()  # all bits, or none
        return partial(parameter.detach().view(torch.int32).bitwise_and_, kept)
    return partial(parameter.masked_fill_, gone, 0.0)


def _removed(model: nn.Module, kept: Kept, complete: bool) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    """Each masked parameter with where its weights are removed, laid out as the parameter is."""
    parameters = dict(model.named_parameters())
    shapes = {name: tuple(parameters[name].shape) for name in prunable_parameters(model)}
    _check(kept, shapes, needed=list(shapes) if complete else [])
    for name, layer in kept.items():
        gone = torch.empty_like(parameters[name], dtype=torch.bool)
        yield parameters[name], gone.copy_(torch.from_numpy(~np.asarray(layer)))


def _check(kept: Kept, shapes: Mapping[str, tuple[int, ...]], needed: Sequence[str]) -> None:
    problems = [f"{name}: missing from the mask" for name in needed if name not in kept]
    problems += [
        f"{name}: in the mask, but not a prunable weight of the model" for name in kept if name not in shapes
    ]
    for name in [name for name in kept if name in shapes]:
        if kept[name].shape != shapes[name]:
            problems.append(f"{name}: mask {list(kept[name].shape)}, weight {list(shapes[name])}")
        if kept[name].dtype != np.bool_:
            problems.append(f"{name}: mask is {kept[name].dtype}, not bool")
    if problems:
        raise ObtransferError(f"the mask does not fit the model: {'; '.join(problems)}")
