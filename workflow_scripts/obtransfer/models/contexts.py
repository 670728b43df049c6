"""How a network is used for a while: where it is, in evaluation mode, with chosen gradients, in a precision."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from obtransfer.settings import Precision


@contextmanager
def evaluation_mode(model: nn.Module, weights: Collection[Tensor] | None = None) -> Iterator[None]:
    """Put every module in evaluation mode and restore each one's flag afterwards, also after an error.

    The flags are set one by one: `model.eval()` may be overridden to change weights, and a caller may have put only some
    modules in evaluation mode.

    Args:
        model: its flags are changed for a while.
        weights: the only parameters with `requires_grad`; None leaves these flags as they are.
    """
    modules = [(module, module.training) for module in model.modules()]
    parameters = [] if weights is None else [(each, each.requires_grad) for each in model.parameters()]
    chosen = {id(weight) for weight in weights or ()}
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


def device_of(model: nn.Module) -> torch.device:
    """The device that the model's parameters are on; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Matrix products and convolutions in bfloat16 on a GPU where asked for; a CPU computes in float32.

    bfloat16 has the range of float32, so no loss is scaled. It changes features by some thousandths.
    """
    enabled = precision == "bfloat16" and device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
