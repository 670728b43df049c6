"""The parts of the matrix that can be kept, each as tensors that grow while the data passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor, nn

from obtransfer.curvature.per_example.operands import Operands
from obtransfer.curvature.structures import block, diagonal
from obtransfer.curvature.structures.ekfac import Ekfac
from obtransfer.curvature.structures.kfac import Kfac
from obtransfer.errors import ObtransferError

BlockSize = int | Literal["row"]
"""Weights per block; "row": all weights of one output of the layer, I · kh · kw of them."""

Shapes = dict[str, tuple[int, ...]]
"""What is appended to the parameter's name -> shape of the tensor stored under it."""


class LayerShape(NamedTuple):
    """A weight [G · O, I, kh, kw] or [O, I] as G matrices [O, I · kh · kw]."""

    weight: tuple[int, ...]
    groups: int
    outputs: int
    inputs: int


class Accumulator(Protocol):
    """The tensors of one layer, as sums over examples where they are not constant."""

    def prepare(self, activations: Tensor) -> Tensor:
        """What `add` wants to be given in place of the activations [B, G, I, L]; kept for a batch's vectors."""

    def add(self, operands: Operands, vector: int) -> None:
        """Add a batch's examples, for the vector of this position among the batch's."""


class Structure(NamedTuple):
    """Which tensors a layer gets; what fills them, given those tensors as zeros (`constant` ones: filled).

    `inputs_once`: activations are read with the first vector only.
    """

    shapes: Callable[[LayerShape, int], Shapes]
    start: Callable[[dict[str, Tensor], int], Accumulator]
    constant: tuple[str, ...] = ()
    inputs_once: bool = False


@dataclass(frozen=True)
class Single:
    """One tensor per layer and a function that adds to it."""

    total: Tensor
    block_size: int
    function: Callable[[Tensor, Operands, int], None]

    def prepare(self, activations: Tensor) -> Tensor:
        """Unchanged."""
        return activations

    def add(self, operands: Operands, vector: int) -> None:
        """All vectors alike."""
        self.function(self.total, operands, self.block_size)


def _block_shapes(layer: LayerShape, size: int) -> Shapes:
    return {"": (-(-layer.groups * layer.outputs * layer.inputs // size), size, size)}


def _kfac_shapes(layer: LayerShape, size: int) -> Shapes:
    groups, outputs, inputs = layer[1:]
    return {":inputs": (groups, inputs, inputs), ":outputs": (groups, outputs, outputs)}


def _ekfac_shapes(layer: LayerShape, size: int) -> Shapes:
    groups, outputs, inputs = layer[1:]
    bases: Shapes = {":input_basis": (groups, inputs, inputs), ":output_basis": (groups, outputs, outputs)}
    return bases | {":eigenvalues": (groups, outputs, inputs)}


STRUCTURES: dict[str, Structure] = {
    "diagonal": Structure(
        lambda layer, size: {"": layer.weight}, lambda zeros, size: Single(zeros[""], size, diagonal.add)
    ),
    "block": Structure(_block_shapes, lambda zeros, size: Single(zeros[""], size, block.add)),
    "kfac": Structure(
        _kfac_shapes, lambda zeros, size: Kfac(zeros[":inputs"], zeros[":outputs"]), inputs_once=True
    ),
    "ekfac": Structure(
        _ekfac_shapes,
        lambda zeros, size: Ekfac(zeros[":input_basis"], zeros[":output_basis"], zeros[":eigenvalues"]),
        constant=(":input_basis", ":output_basis"),
    ),
}


def layer_shape(module: nn.Module) -> LayerShape:
    """The shape of a Conv2d's or Linear's weight."""
    weight = module.weight
    assert isinstance(weight, Tensor)  # select_layers has seen to it
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    return LayerShape(tuple(weight.shape), groups, len(weight) // groups, weight[0].numel())


def block_sizes(shapes: Mapping[str, LayerShape], block_size: BlockSize) -> dict[str, int]:
    """The block size of every layer.

    Raises:
        ObtransferError: neither "row" nor a whole number of at least 1, or more than some layer has weights.
    """
    if block_size == "row":
        return {name: shape.inputs for name, shape in shapes.items()}
    if not isinstance(block_size, int) or block_size < 1:
        raise ObtransferError(
            f'curvature blocks need a size of at least 1, or "row"; got block_size = {block_size!r}'
        )
    sizes = {name: shape.groups * shape.outputs * shape.inputs for name, shape in shapes.items()}
    small = [f"{name} ({size})" for name, size in sizes.items() if size < block_size]
    if small:
        raise ObtransferError(
            f"curvature blocks of {block_size} weights are larger than these layers: {', '.join(small)}. "
            'Take a smaller block_size, or "row", or leave these layers out of `parameters`'
        )
    return dict.fromkeys(shapes, block_size)
