"""One pass over the data, for some of the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import fitting_head
from obtransfer.curvature.losses import Loss
from obtransfer.curvature.outputs import Outputs, numbered
from obtransfer.curvature.per_example.hooks import LayerHooks
from obtransfer.curvature.per_example.operands import Operands
from obtransfer.curvature.structures.base import Accumulator
from obtransfer.models.contexts import evaluation_mode

OutputVectors = Callable[[Outputs], Tensor]
"""Outputs of B examples -> [S, B, K]: what an estimator is."""


@dataclass(frozen=True)
class Data:
    """The model with its head, the examples, and how vectors of the outputs come from both.

    Args: as of `obtransfer.curvature.compute.compute_curvature`, with names resolved.
    """

    model: nn.Module
    head_weight: Tensor
    head_bias: Tensor
    batches: Iterable[Sequence[Tensor]]
    output_vectors: OutputVectors
    loss: Loss
    num_samples: int
    seed: int
    first_index: int

    def vectors(self, features: Tensor, labels: Tensor, indices: Tensor) -> list[Tensor]:
        """The estimator's vectors as gradients of the features, [B, D] each."""
        weight, bias = fitting_head(features, self.head_weight, self.head_bias)
        with torch.no_grad():
            logits = features @ weight.T + bias
            outputs = Outputs(logits, labels, self.loss, indices, self.seed, self.num_samples)
            return list(self.output_vectors(outputs) @ weight)


def go_through(
    data: Data,
    layers: Mapping[str, nn.Module],
    accumulators: Mapping[str, Accumulator],
    *,
    dtype: torch.dtype,
    inputs_once: bool,
    progress: Callable[[int], None],
) -> int:
    """Add every example to the accumulators, and leave the model as it was.

    Args:
        data: gone through once.
        layers: parameter name -> Conv2d or Linear.
        accumulators: for each of them, changed.
        dtype: of the operands.
        inputs_once: whether activations are read with the first vector of a batch only.
        progress: called after each batch with the number of examples done so far.

    Returns:
        The number of examples.
    """

    def consume(name: str, operands: Operands, vector: int) -> None:
        accumulators[name].add(operands, vector)

    def prepare(name: str, activations: Tensor) -> Tensor:
        return accumulators[name].prepare(activations)

    done = 0
    weights = [data.model.get_parameter(name) for name in layers]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        evaluation_mode(data.model, weights),
        closing(LayerHooks(layers, dtype, consume, prepare=prepare, inputs_once=inputs_once)) as hooks,
    ):
        for images, labels, indices in numbered(data.batches, data.first_index):
            features = hooks.forward(data.model, images.to(weights[0].device))
            hooks.backward(features, data.vectors(features, labels, indices))
            done += len(images)
            progress(done)
    return done
