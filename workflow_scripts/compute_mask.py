"""Which weights stay at one sparsity."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def compute_mask(
    scores: Path,
    weights: Path | None,
    curvature: Path | None,
    mask: Path,
    layers: Path,
    *,
    allocation: str,
    allocate: str,
    sparsity: str,
    target: str,
    made: dict[str, Any],
) -> None:
    """Write `mask`, one bit a weight, and `layers`, a table of what is left of each layer.

    With `weights` and `curvature` the mask comes with new values of the weights that stay (the joint OBS update).
    `target` is the sparsity of a round on the way to `sparsity`.
    """
    from obtransfer.artifacts import map_tensors, write_table, write_tensors
    from obtransfer.assemble import UPDATE
    from obtransfer.masks.packing import pack
    from obtransfer.masks.statistics import collapsed_layers, count_weights, density_by_layer, layer_rows
    from obtransfer.registry import resolve

    scored = map_tensors(scores, kind="scores")
    names = scored.metadata["layers"]
    kept = resolve(allocate)({name: scored.tensors[name] for name in names}, target or sparsity)
    tensors = pack(kept)
    if weights and curvature:
        from obtransfer.masks.update import joint_update

        dense = map_tensors(weights, kind="backbone").tensors
        blocks = map_tensors(curvature, kind="curvature").tensors
        damping = scored.metadata["details"]["absolute_damping"]
        updated = joint_update({name: dense[name] for name in names}, kept, blocks, damping)
        tensors |= {UPDATE + name: updated[name] for name in names}
    num_weights, num_removed = count_weights(kept)
    collapsed = collapsed_layers(kept)
    if collapsed:
        print(f"layer collapse: no weights left in {', '.join(collapsed)}", flush=True)
    metadata = {
        "sparsity": target or sparsity,
        "allocation": allocation,
        "num_weights": num_weights,
        "num_removed": num_removed,
        "density_by_layer": density_by_layer(kept),
        "collapsed_layers": collapsed,
        "shapes": {name: list(layer.shape) for name, layer in kept.items()},
        "made": made,
    }
    write_tensors(mask, tensors, kind="mask", metadata=metadata)
    write_table(layers, layer_rows(kept), kind="layers", metadata={"made": made})


if "snakemake" in globals():
    run_step(compute_mask, globals()["snakemake"])
