"""A model on loan: evaluation mode and chosen gradients for a while, everything as it was afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def on_loan(model: nn.Module, weights: Collection[Tensor]) -> Iterator[None]:
    """Every module in evaluation mode, and `requires_grad` for `weights` only; both restored, also after an
    error.

    The flags are set one by one: `model.eval()` may be overridden to change weights, and a caller may have
    put some modules only in evaluation mode.
    """
    modules = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    chosen = {id(weight) for weight in weights}
    try:
        for module, _ in modules:
            module.training = False
        for parameter, _ in parameters:
            parameter.requires_grad_(id(parameter) in chosen)
        yield
    finally:
        for module, training in modules:
            module.training = training
        for parameter, requires_grad in parameters:
            parameter.requires_grad_(requires_grad)
