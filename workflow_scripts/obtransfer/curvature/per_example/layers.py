"""Which layers own the requested parameters, and whether their per-example gradients can be had."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from obtransfer.curvature.per_example.patches import CONV2D_SAME
from obtransfer.curvature.structures.base import LayerShape
from obtransfer.errors import ObtransferError, listed

_FORWARDS = {
    nn.Linear: ("forward",),
    nn.Conv2d: ("forward", "_conv_forward"),
}
"""Supported layers, with the methods that a subclass must not replace."""

_EQUAL = (CONV2D_SAME, ("timm.layers.linear", "Linear.forward"))
"""Methods of timm that may replace them: a convolution whose padding is known, and a linear layer that differs for scripts only."""


def select_layers(model: nn.Module, parameters: Sequence[str] | None) -> dict[str, nn.Module]:
    """The layer of every requested weight.

    Trap: a layer that cannot be treated is an error, never left out: a missing layer would look unimportant
    later.

    Args:
        model: not changed.
        parameters: names of `named_parameters`; None for the weights of all Conv2d and Linear layers.

    Returns:
        Parameter name -> Conv2d or Linear whose `weight` it is, in the order asked for.

    Raises:
        ObtransferError: listing every name that is unknown, belongs to something else, is shared, or whose
            layer is not supported; and modules that mix the examples of a batch.
    """
    owners = _owners(model)
    if parameters is None:
        layers = (prefix for prefix, module in model.named_modules() if _is_layer(module))
        parameters = [_name(prefix, "weight") for prefix in layers]
    if not parameters:
        raise ObtransferError(
            "curvature needs at least one Conv2d or Linear weight; got an empty list of parameters, or "
            f"{type(model).__name__}, which has none"
        )
    problems = [problem for name in parameters if (problem := _problem(name, owners))] + batch_mixing(model)
    if problems:
        raise ObtransferError(
            "curvature by layer hooks needs plain nn.Conv2d and nn.Linear weights; got "
            f"{listed(problems, '; ')}; leave these out of `parameters`, or replace the modules"
        )
    return {name: owners[name][0][0] for name in parameters}


def layer_shape(module: nn.Module) -> LayerShape:
    """The shape of a Conv2d's or Linear's weight."""
    weight = module.weight
    assert isinstance(weight, Tensor)  # select_layers has seen to it
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    return LayerShape(tuple(weight.shape), groups, len(weight) // groups, weight[0].numel())


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, tuple(_FORWARDS))


def _name(prefix: str, attribute: str) -> str:
    return f"{prefix}.{attribute}" if prefix else attribute


def _owners(model: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Under every name of a parameter, all the (module, attribute) that hold that same parameter."""
    holders: dict[int, list[tuple[nn.Module, str]]] = {}
    names: dict[str, int] = {}
    for prefix, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            holders.setdefault(id(parameter), []).append((module, attribute))
            names[_name(prefix, attribute)] = id(parameter)
    return {name: holders[key] for name, key in names.items()}


def _problem(name: str, owners: dict[str, list[tuple[nn.Module, str]]]) -> str | None:
    """Why this parameter cannot be treated, if so."""
    if name not in owners:
        return f"{name} (no such parameter)"
    module, attribute = owners[name][0]
    if len(owners[name]) > 1:
        return f"{name} (shared by {len(owners[name])} places of the model)"
    if attribute != "weight" or not _is_layer(module):
        return f"{name} (`{attribute}` of {type(module).__name__})"
    for kind, methods in _FORWARDS.items():
        for method in methods if isinstance(module, kind) else ():
            found = getattr(type(module), method)
            if found is not getattr(kind, method) and (found.__module__, found.__qualname__) not in _EQUAL:
                return f"{name} ({type(module).__name__} replaces {kind.__name__}.{method})"
    if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
        return f"{name} (padding_mode {module.padding_mode!r})"
    return None


def batch_mixing(model: nn.Module) -> list[str]:
    """BatchNorm layers without running statistics: also in evaluation mode they mix a batch."""
    return [
        f"{name} ({type(module).__name__} without running statistics)"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
