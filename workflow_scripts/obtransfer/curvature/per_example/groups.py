"""The statistics of one group of layers after the other, a pass over the data each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import means
from obtransfer.curvature.per_example.layers import select_layers
from obtransfer.curvature.per_example.passes import Data, go_through
from obtransfer.curvature.structures.base import BlockSize, Structure, block_sizes, layer_shape
from obtransfer.curvature.structures.ekfac import fill_bases
from obtransfer.errors import ObtransferError


@dataclass(frozen=True)
class Kept:
    """What is kept of every layer's matrix.

    Args: `kind`, and `block_size`, `dtype` and `factors` as of `obtransfer.curvature.compute.compute_curvature`.
    """

    kind: Structure
    block_size: BlockSize
    dtype: torch.dtype
    factors: Mapping[str, Tensor]


def statistics_of_groups(
    data: Data, kept: Kept, groups: Sequence[Sequence[str]], progress: Callable[[int], None]
) -> Iterator[dict[str, Tensor]]:
    """Go through the data once per group, and give the means over the examples; no reference to them is kept.

    Raises:
        ObtransferError: no examples, passes with different numbers of them, and whatever one pass refuses.
    """
    counts: list[int] = []
    for group in groups:
        yield _statistics(data, kept, group, counts, progress)


def _statistics(
    data: Data, kept: Kept, group: Sequence[str], counts: list[int], progress: Callable[[int], None]
) -> dict[str, Tensor]:
    """The means for one group; `counts`, the numbers of examples of the passes so far, grows by one."""
    layers = select_layers(data.model, group)
    tensors = _allocate(layers, kept)
    before = sum(counts)
    counts.append(_fill(tensors, layers, data, kept, lambda done: progress(before + done)))
    if counts[-1] != counts[0]:
        raise ObtransferError(
            f"curvature needs the same examples in every pass; the first had {counts[0]}, pass {len(counts)} "
            f"had {counts[-1]}: give `batches` that can be gone through again"
        )
    means(_named(tensors, without=kept.kind.constant), counts[-1])
    return _named(tensors)


def _fill(
    tensors: dict[str, dict[str, Tensor]],
    layers: Mapping[str, nn.Module],
    data: Data,
    kept: Kept,
    progress: Callable[[int], None],
) -> int:
    """Add all examples, and return their number."""
    sizes = block_sizes({name: layer_shape(module) for name, module in layers.items()}, kept.block_size)
    accumulators = {name: kept.kind.start(tensors[name], sizes[name]) for name in layers}
    return go_through(
        data, layers, accumulators, dtype=kept.dtype, inputs_once=kept.kind.inputs_once, progress=progress
    )


def _allocate(layers: Mapping[str, nn.Module], kept: Kept) -> dict[str, dict[str, Tensor]]:
    """Parameter name -> suffix -> zeros, or eigenbases."""
    shapes = {name: layer_shape(module) for name, module in layers.items()}
    sizes = block_sizes(shapes, kept.block_size)
    device = next(parameter.device for module in layers.values() for parameter in module.parameters())
    tensors = {
        name: {
            suffix: torch.zeros(part, dtype=kept.dtype, device=device)
            for suffix, part in kept.kind.shapes(shape, sizes[name]).items()
        }
        for name, shape in shapes.items()
    }
    for name in layers if kept.kind.constant else ():
        fill_bases(tensors[name], name, kept.factors)
    return tensors


def _named(tensors: Mapping[str, Mapping[str, Tensor]], without: Sequence[str] = ()) -> dict[str, Tensor]:
    """Under the keys of a statistics file."""
    return {
        f"{name}{suffix}": tensor
        for name, parts in tensors.items()
        for suffix, tensor in parts.items()
        if suffix not in without
    }
