"""Structure `block`: the B × B blocks of consecutive weights of one layer, in row-major order, [ceil(n/B), B, B].

Blocks never cross a layer; the last one is padded with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, doc

from obtransfer.curvature.structures.base import Arrays, LayerShape, Shape, Structure, Sum
from obtransfer.errors import ObtransferError, listed

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_SHARE = 1e-6
"""The least filler, so that it never makes a block singular: of the survivors' mean diagonal, or of the layer's in a block
without survivors."""

BlockSize = Annotated[
    Annotated[int, Ge(1)] | Literal["row"],
    doc("number of consecutive weights in a block, or row: all weights of one output"),
]


def spell(*, block_size: BlockSize) -> str:
    """``block16``, ``blockrow``."""
    return f"block{block_size}"


def sizes(layers: Mapping[str, LayerShape], *, block_size: Any) -> dict[str, dict[str, int]]:
    """Block size B and number of blocks N of every layer.

    Raises:
        ObtransferError: a block is larger than some layer.
    """
    weights = {name: prod(shape.weight) for name, shape in layers.items()}
    chosen = {name: shape.inputs if block_size == "row" else block_size for name, shape in layers.items()}
    small = [f"{name} ({size})" for name, size in weights.items() if size < chosen[name]]
    if small:
        raise ObtransferError(
            f"curvature blocks need layers of at least {block_size} weights; got {listed(small)}; take a smaller "
            "block_size, or row, or leave these layers out of `parameters`"
        )
    return {name: {"B": size, "N": -(-weights[name] // size)} for name, size in chosen.items()}


def expected(weight: Shape, found: Shape) -> dict[str, object]:
    """The block size is that of the blocks found, if the layer has so many."""
    count = prod(weight)
    if len(found) == 3 and min(found) > 0 and found[0] == -(-count // found[-1]):
        return {"N": found[0], "B": found[-1]}
    return {"N": f"ceil({count} / B)", "B": "B"}


def start(zeros: Mapping[str, Tensor]) -> Sum:
    """Outer products of per-example gradients go to the one tensor."""
    from obtransfer.curvature.per_example.block_kernel import add

    return Sum(zeros[""], add)


def restrict(statistics: Arrays, mask: Arrays) -> dict[str, np.ndarray]:
    """The blocks with the removed weights held at zero.

    Rows and columns of removed weights become zero beside their diagonal, which becomes inert: the inverse of the
    survivors is then exactly that of their own sub-matrix, so that `obs` knows that a removed weight cannot
    compensate for another one. The filler is the mean of the block's removed diagonal, which leaves the layer's mean diagonal, hence a
    relative λ, as it is (equal to that of `obd` on the same model), unless that is less than a millionth of the
    survivors' mean.

    Args:
        statistics: name to blocks [ceil(n/B), B, B]; not changed.
        mask: name to bool array, True = keep, for every layer of the statistics.

    Returns:
        The same names, shapes and types; layers without removed weights are the same arrays.

    Raises:
        ObtransferError: a layer that the mask lacks, or with another number of weights there.
    """
    missing = [name for name in statistics if name not in mask]
    if missing:
        raise ObtransferError(
            f"restricting blocks needs a mask of their layers; got none for {listed(missing)}"
        )
    return {name: _restrict_layer(blocks, mask[name], name) for name, blocks in statistics.items()}


def _restrict_layer(blocks: np.ndarray, mask: np.ndarray, name: str) -> np.ndarray:
    count, size, _ = blocks.shape
    if count != -(-mask.size // size):
        raise ObtransferError(
            f"restricting blocks needs the mask of the same weights; got {count} blocks of size {size} and a mask of "
            f"{mask.size} weights for {name}"
        )
    if mask.all():
        return blocks
    padding = count * size - mask.size
    keep = np.pad(mask.reshape(-1), (0, padding), constant_values=True).reshape(count, size)
    real = np.pad(np.ones(mask.size, dtype=bool), (0, padding)).reshape(count, size)
    diagonal = blocks.diagonal(axis1=1, axis2=2).astype(np.float64)
    survivors = keep & real
    reference = np.where(survivors.any(axis=1), _means(diagonal, survivors), diagonal[real].mean())
    filler = np.maximum(_means(diagonal, ~keep), SMALLEST_SHARE * reference)
    restricted = blocks * (keep[:, :, None] & keep[:, None, :])
    block, weight = np.nonzero(~keep)
    restricted[block, weight, weight] = filler[block]
    return restricted


def _means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[b] the mean of the chosen entries of each row, 0 where there are none."""
    return np.where(chosen, values, 0.0).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)


STRUCTURE = Structure(
    "block",
    {"": "NBB"},
    sizes=sizes,
    expected=expected,
    start=start,
    restrict=restrict,
    spell=spell,
    pattern="block(?P<block_size>[1-9][0-9]*|row)",
)
