"""How many passes over the data a statistic needs, known before the first one starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from obtransfer.curvature.checks import accumulation_dtype, known
from obtransfer.curvature.per_example.layers import select_layers
from obtransfer.curvature.structures.base import STRUCTURES, BlockSize, block_sizes, layer_shape
from obtransfer.errors import ObtransferError


@dataclass(frozen=True)
class Plan:
    """The layers of each pass, and the bytes of every layer's statistic.

    Args:
        groups: names of the parameters, one group per pass, in the model's order.
        bytes_by_layer: parameter name -> bytes.
        limit: the most bytes a group may have; None for no limit.
    """

    groups: tuple[tuple[str, ...], ...]
    bytes_by_layer: dict[str, int]
    limit: int | None

    @property
    def passes(self) -> int:
        """Passes over the data."""
        return len(self.groups)

    @property
    def total_bytes(self) -> int:
        """Of the statistic of all layers."""
        return sum(self.bytes_by_layer.values())

    @property
    def peak_bytes(self) -> int:
        """Of the largest group."""
        return max(self.group_bytes(group) for group in self.groups)

    def group_bytes(self, group: Sequence[str]) -> int:
        """Of these layers together."""
        return sum(self.bytes_by_layer[name] for name in group)

    def describe(self) -> str:
        """One line in all, then one per pass."""
        limit = "no limit" if self.limit is None else f"limit {_mebibytes(self.limit)}"
        passes = f"{self.passes} pass{'es' if self.passes > 1 else ''} over the data"
        size, peak = _mebibytes(self.total_bytes), _mebibytes(self.peak_bytes)
        lines = [f"{passes}; statistics of {size}, at most {peak} at once ({limit})"]
        for number, group in enumerate(self.groups, start=1):
            span = group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}, {len(group)} layers"
            lines.append(f"pass {number}: {span}, {_mebibytes(self.group_bytes(group))}")
        return "\n".join(lines)


def plan(
    model: nn.Module,
    structure: str,
    block_size: BlockSize = 16,
    dtype: torch.dtype = torch.float32,
    parameters: Sequence[str] | None = None,
    memory_limit: int | None = None,
) -> Plan:
    """Divide the layers, in order, into the fewest groups of consecutive ones that fit.

    Trap: the limit is for the statistics alone; the model, a batch's activations and a few MiB come on top.

    Args:
        model: not changed.
        structure: a key of `obtransfer.curvature.structures.base.STRUCTURES`.
        block_size: B, or "row"; used by `block`.
        dtype: as asked of `compute_curvature`.
        parameters: names of Conv2d and Linear weights; None for all of them.
        memory_limit: bytes of statistics that may exist at once; None for one pass whatever it takes.

    Raises:
        ObtransferError: unknown structure, layers that cannot be treated, a block size that does not fit, or
            layers whose statistics alone are above the limit.
    """
    kind = known(structure, STRUCTURES, "structure")
    layers = select_layers(model, parameters)
    shapes = {name: layer_shape(module) for name, module in layers.items()}
    sizes = block_sizes(shapes, block_size if structure == "block" else 1)
    found = accumulation_dtype(dtype, {name: model.get_parameter(name) for name in layers})
    needed = {
        name: found.itemsize * sum(prod(part) for part in kind.shapes(shape, sizes[name]).values())
        for name, shape in shapes.items()
    }
    return Plan(_groups(needed, structure, memory_limit), needed, memory_limit)


def _groups(needed: Mapping[str, int], structure: str, limit: int | None) -> tuple[tuple[str, ...], ...]:
    """Greedily: a layer joins the group before it as long as it fits."""
    if limit is None:
        return (tuple(needed),)
    large = [f"{name} needs {size} bytes" for name, size in needed.items() if size > limit]
    if large:
        raise ObtransferError(
            f"the {structure} statistics of a single layer must fit the memory limit of {limit} bytes, but "
            f"{'; '.join(large)}. Raise memory_limit, or take a smaller structure or block size"
        )
    groups: list[list[str]] = []
    free = 0
    for name, size in needed.items():
        if not groups or size > free:
            groups.append([])
            free = limit
        groups[-1].append(name)
        free -= size
    return tuple(tuple(group) for group in groups)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
