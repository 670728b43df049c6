"""Which layers' statistics fit the memory together, known before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from obtransfer.curvature.examples import accumulation_dtype
from obtransfer.curvature.per_example.layers import layer_shape, select_layers
from obtransfer.curvature.request import Request
from obtransfer.curvature.structures.base import parse
from obtransfer.errors import ObtransferError, listed
from obtransfer.registry import STRUCTURES


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


def plan(model: nn.Module, request: Request, limit: int | None = None) -> Plan:
    """Divide the layers, in order, into the fewest groups of consecutive ones that fit.

    Each group is a request of its own (`parameters`), with a pass over the data.

    Trap: the limit is for the statistics alone; the model, a batch's activations and a few MiB come on top.

    Args:
        model: not changed.
        request: what is to be computed.
        limit: bytes of statistics that may exist at once; None for one pass whatever it takes.

    Raises:
        ObtransferError: layers that cannot be treated, a block size that does not fit, or layers whose statistics
            alone are above the limit.
    """
    name, options = parse(request.structure)
    layers = select_layers(model, request.parameters)
    shapes = STRUCTURES[name].shapes({n: layer_shape(module) for n, module in layers.items()}, **options)
    weights = {n: model.get_parameter(n) for n in layers}
    size = accumulation_dtype(request.dtype or torch.float32, weights).itemsize
    needed = {layer: size * sum(prod(shape) for shape in keys.values()) for layer, keys in shapes.items()}
    return Plan(_groups(needed, request.structure, limit), needed, limit)


def _groups(needed: Mapping[str, int], structure: str, limit: int | None) -> tuple[tuple[str, ...], ...]:
    """Greedily: a layer joins the group before it as long as it fits."""
    if limit is None:
        return (tuple(needed),)
    large = [f"{name} needs {size} bytes" for name, size in needed.items() if size > limit]
    if large:
        raise ObtransferError(
            f"the {structure} statistic of a single layer must fit the memory limit of {limit} bytes; got layers that do "
            f"not: {listed(large, '; ')}; raise curvature.memory_gb, or take a smaller structure or block size"
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
