"""BatchNorm recalibration: running statistics that fit the pruned weights, from unlabelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from obtransfer.data.pixels import batches
from obtransfer.errors import ObtransferError
from obtransfer.models.contexts import device_of, evaluation_mode
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.runtime.batch_size import BatchSize

Observe = Callable[[_BatchNorm, torch.Tensor], None]


def batchnorm_layers(model: nn.Module) -> list[_BatchNorm]:
    """The modules that keep running BatchNorm statistics, by type, in order of registration."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def recalibrate_batchnorm(
    model: nn.Module,
    pixels: npt.NDArray[np.uint8],
    preprocessing: Preprocessing,
    *,
    batch_size: int | None = None,
) -> None:
    """Set every BatchNorm layer's running statistics to the exact moments of its input over the images.

    running_mean = mean of the layer's input over all images and positions, running_var = the *biased* variance (the
    one that training mode normalises with; torch's own running update uses n / (n - 1)). A layer sees its
    predecessors with their new statistics, so that on the given images each layer's output is exactly normalised.

    All at once (``batch_size=None``): one forward pass, each layer set just before it is used. In batches: one
    partial pass for each layer, moments merged in float64. The batch size changes nothing but rounding; it would change
    the usual cumulative average of batch statistics (``momentum=None``).

    Cost: one forward pass with the memory of all images, or about (layers / 2) passes with the memory of one batch.

    Args:
        model: changed in place, its BatchNorm running_mean and running_var only; train flags, num_batches_tracked
            and momentum stay. After an error some layers may have been set.
        pixels: [N, H, W, 3] uint8, N >= 2; never the test split.
        preprocessing: of the backbone, for the normalisation.
        batch_size: images in a forward pass; None for all at once, or as many as fit.

    Raises:
        ObtransferError: a model without BatchNorm statistics, fewer than two images, a layer that is used twice in
            one pass, inputs that are not finite.
    """
    if not batchnorm_layers(model):
        raise ObtransferError(
            "recalibration needs a model with BatchNorm statistics; got one without (a ViT?); use batchnorm: keep for it"
        )
    if len(pixels) < 2 or (batch_size is not None and batch_size < 1):
        raise ObtransferError(
            f"recalibration needs two images or more and a batch_size >= 1; got {len(pixels)} and {batch_size}"
        )
    names = {module: name for name, module in model.named_modules()}
    size = BatchSize(batch_size or len(pixels), "recalibrating BatchNorm")
    while True:
        batched = partial(batches, pixels, preprocessing, batch_size=size.value, device=device_of(model))
        try:
            _recalibrate(model, batched, size.value >= len(pixels), names)
            return
        except torch.OutOfMemoryError:
            size.halve(min(size.value, len(pixels)))


def _recalibrate(
    model: nn.Module,
    batched: Callable[[], Iterator[torch.Tensor]],
    at_once: bool,
    names: dict[nn.Module, str],
) -> None:
    """All layers in one pass, or one after the other."""
    with evaluation_mode(model), torch.inference_mode():
        layers = _execution_order(model, next(batched())[:1], names)
        if at_once:
            with _observing(layers, lambda layer, inputs: _Moments().add(inputs).store(layer, names[layer])):
                model(next(batched()))
            return
        for layer in layers:
            _set_one(model, layer, batched(), names[layer])


class _Moments:
    """Running count, mean and sum of squared deviations per channel, in float64 (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: torch.Tensor = torch.zeros((), dtype=torch.float64)
        self.squares: torch.Tensor = torch.zeros((), dtype=torch.float64)

    def add(self, inputs: torch.Tensor) -> _Moments:
        """Merge a batch [B, C, ...]."""
        dims = [dim for dim in range(inputs.ndim) if dim != 1]
        variance, mean = (t.double().cpu() for t in torch.var_mean(inputs, dims, correction=0))
        count = inputs.numel() // inputs.shape[1]
        delta = mean - self.mean
        total = self.count + count
        self.mean = self.mean + delta * (count / total)
        self.squares = self.squares + variance * count + delta**2 * (self.count * count / total)
        self.count = total
        return self

    def store(self, layer: _BatchNorm, name: str) -> None:
        """Write the moments into a layer; refuse NaN and infinity."""
        variance = self.squares / self.count
        bad = int((~(self.mean.isfinite() & variance.isfinite())).sum())
        if bad:
            raise ObtransferError(
                f"BatchNorm layer {name} needs finite inputs; got NaN or infinity in {bad} of {len(variance)} channels; "
                "check the weights before it"
            )
        assert layer.running_mean is not None and layer.running_var is not None
        layer.running_mean.copy_(self.mean)
        layer.running_var.copy_(variance)


class _Reached(Exception):
    """The pass has reached the measured layer; its rest is not needed."""


def _set_one(model: nn.Module, layer: _BatchNorm, batches: Iterator[torch.Tensor], name: str) -> None:
    """Measure one layer over all batches, then set it."""
    moments = _Moments()

    def observe(_: _BatchNorm, inputs: torch.Tensor) -> None:
        moments.add(inputs)
        raise _Reached

    with _observing([layer], observe):
        for batch in batches:
            with suppress(_Reached):
                model(batch)
    moments.store(layer, name)


def _execution_order(model: nn.Module, batch: torch.Tensor, names: dict[nn.Module, str]) -> list[_BatchNorm]:
    """The layers that a forward pass uses, in its order."""
    order: list[_BatchNorm] = []
    with _observing(batchnorm_layers(model), lambda layer, _: order.append(layer)):
        model(batch)
    twice = sorted({names[layer] for layer in order if order.count(layer) > 1})
    if twice:
        raise ObtransferError(
            f"recalibration needs BatchNorm layers with a single input; got layers used twice in one pass: "
            f"{', '.join(twice)}; use batchnorm: keep for this model"
        )
    return order


@contextmanager
def _observing(layers: Sequence[_BatchNorm], observe: Observe) -> Iterator[None]:
    """Call ``observe(layer, input)`` before each of the layers runs."""

    def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        observe(module, arguments[0])

    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
