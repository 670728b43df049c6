"""Which weights stay at one sparsity."""

from pathlib import Path
from typing import Any

from obtransfer.step import run_step


def compute_mask(
    scores: Path, mask: Path, *, allocation: str, allocate: str, sparsity: str, made: dict[str, Any]
) -> None:
    """Write `mask`: one bit a weight, with each layer's density."""
    from obtransfer.artifacts import map_tensors, write_tensors
    from obtransfer.masks.packing import pack
    from obtransfer.masks.statistics import collapsed_layers, count_weights, density_by_layer
    from obtransfer.resolve import resolve

    scored = map_tensors(scores, kind="scores")
    kept = resolve(allocate)({name: scored.tensors[name] for name in scored.metadata["layers"]}, sparsity)
    num_weights, num_removed = count_weights(kept)
    metadata = {
        "sparsity": sparsity,
        "allocation": allocation,
        "num_weights": num_weights,
        "num_removed": num_removed,
        "density_by_layer": density_by_layer(kept),
        "collapsed_layers": collapsed_layers(kept),
        "shapes": {name: list(layer.shape) for name, layer in kept.items()},
        "made": made,
    }
    write_tensors(mask, pack(kept), kind="mask", metadata=metadata)


if "snakemake" in globals():
    run_step(compute_mask, globals()["snakemake"])
