"""A statistic of per-example gradients: one pass over the data that fills the tensors of every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import means
from obtransfer.curvature.examples import Examples, accumulation_dtype
from obtransfer.curvature.outputs import Outputs, numbered
from obtransfer.curvature.per_example.hooks import LayerHooks
from obtransfer.curvature.per_example.layers import layer_shape, select_layers
from obtransfer.curvature.per_example.operands import Operands
from obtransfer.curvature.structures.base import Accumulator, Structure
from obtransfer.models.contexts import evaluation_mode

OutputVectors = Callable[[Outputs], Tensor]
"""Outputs of B examples -> [S, B, K]: what an estimator makes."""


def per_example_statistic(
    examples: Examples,
    vectors: OutputVectors,
    structure: Structure,
    options: Mapping[str, Any],
    prior: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The means over the examples, by the keys of the structure.

    Args:
        examples: gone through once.
        vectors: the estimator's function.
        structure: what is kept of every layer.
        options: its settings.
        prior: the statistic that the structure builds on.

    Raises:
        ObtransferError: layers that cannot be treated, settings or a prior that do not fit them, no examples, or
            statistics that are not finite.
    """
    layers = select_layers(examples.model, examples.parameters)
    weights = {name: examples.model.get_parameter(name) for name in layers}
    dtype = accumulation_dtype(examples.dtype, weights)
    shapes = structure.shapes({name: layer_shape(module) for name, module in layers.items()}, **options)
    device = next(iter(weights.values())).device
    tensors = {
        name: {key: torch.zeros(shape, dtype=dtype, device=device) for key, shape in keys.items()}
        for name, keys in shapes.items()
    }
    assert structure.start is not None  # the estimator's structures are those that have it
    if structure.fill is not None:
        for name in layers:
            structure.fill(tensors[name], name, prior)
    accumulators = {name: structure.start(tensors[name]) for name in layers}
    done = _go_through(
        examples, vectors, layers, accumulators, inputs_once=structure.inputs_once, dtype=dtype
    )
    named = {name + key: tensor for name, keys in tensors.items() for key, tensor in keys.items()}
    constant = {name + key for name in layers for key in structure.constant}
    means({key: tensor for key, tensor in named.items() if key not in constant}, done)
    return named


def _go_through(
    examples: Examples,
    vectors: OutputVectors,
    layers: Mapping[str, nn.Module],
    accumulators: Mapping[str, Accumulator],
    *,
    inputs_once: bool,
    dtype: torch.dtype,
) -> int:
    """Add every example to the accumulators, leave the model as it was, and return the number of examples.

    Args:
        examples: gone through once.
        vectors: the estimator's function.
        layers: parameter name -> Conv2d or Linear.
        accumulators: for each of them, changed.
        inputs_once: whether activations are read with the first vector of a batch only.
        dtype: of the operands.
    """

    def consume(name: str, operands: Operands, vector: int) -> None:
        accumulators[name].add(operands, vector)

    def prepare(name: str, activations: Tensor) -> Tensor:
        return accumulators[name].prepare(activations)

    done = 0
    weights = [examples.model.get_parameter(name) for name in layers]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        evaluation_mode(examples.model, weights),
        closing(LayerHooks(layers, dtype, consume, prepare=prepare, inputs_once=inputs_once)) as hooks,
    ):
        for images, labels, indices in numbered(examples.batches):
            features = hooks.forward(examples.model, images.to(weights[0].device))
            weight, bias = examples.head_of(features)
            with torch.no_grad():
                outputs = Outputs(features @ weight.T + bias, labels, examples.loss, indices)
                of_features = list(vectors(outputs) @ weight)
            hooks.backward(features, of_features)
            done += len(images)
            examples.progress(done)
    return done
