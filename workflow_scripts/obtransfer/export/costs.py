"""What a pruned model costs: weights and FLOPs of every layer, and bytes as it is, as bits and values, and compressed."""

from __future__ import annotations

import zlib
from typing import cast

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.export.card import LayerCosts, SparsitySection
from obtransfer.export.flops import Flops
from obtransfer.masks.mask import Mask
from obtransfer.masks.packing import pack

_LEVEL = 6


def sparsity_section(state: Arrays, mask: Mask, flops: Flops) -> SparsitySection:
    """Removed weights in all and by layer; `state` holds every parameter and buffer."""
    sparse = flops.sparse_layers(mask.kept)
    layers = [
        row
        | {
            "shape": shape,
            "flops_dense": flops.layers.get(name, 0),
            "flops_sparse": sparse.get(name, 0),
        }
        for row, (name, shape) in zip(mask.layer_rows(), mask.shapes().items(), strict=True)
    ]
    return {
        "num_weights": mask.num_weights,
        "num_removed": mask.num_removed,
        "of_prunable": mask.num_removed / mask.num_weights,
        "of_all": mask.num_removed / sum(array.size for array in state.values()),
        "layers": cast(list[LayerCosts], layers),
    }


def flops_section(mask: Mask, flops: Flops) -> dict[str, int]:
    """FLOPs of one image, dense and with only the weights that are kept."""
    whole = {"dense": flops.dense(), "sparse": flops.sparse(mask.kept)}
    return whole | {"attention": flops.attention, "other": flops.other}


def bytes_section(state: Arrays, mask: Mask) -> dict[str, int]:
    """Bytes of the tensors, without any file's header.

    `dense`: all of them. `mask_and_values`: one bit for every masked weight, the kept values row-major, and the other
    tensors as they are. `compressed`: the latter, in the order of names, after zlib at level 6.

    Args:
        state: name to array, removed weights being zero; not changed.
        mask: of some of the names.
    """
    tensors = {f"mask:{name}": bits for name, bits in pack(mask.kept).items()}
    tensors |= {f"values:{name}": state[name][kept] for name, kept in mask.kept.items()}
    tensors |= {name: array for name, array in state.items() if name not in mask.kept}
    packer = zlib.compressobj(_LEVEL)
    compressed = sum(
        len(packer.compress(np.ascontiguousarray(tensors[name]).tobytes())) for name in sorted(tensors)
    )
    return {
        "dense": sum(array.nbytes for array in state.values()),
        "mask_and_values": sum(array.nbytes for array in tensors.values()),
        "compressed": compressed + len(packer.flush()),
    }
