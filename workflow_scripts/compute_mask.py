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
    sparsity: str,
    target: str,
    made: dict[str, Any],
) -> None:
    """Write `mask`, one bit a weight, and `layers`, a table of what is left of each layer.

    With `weights` and `curvature` the mask comes with new values of the weights that stay (the joint OBS update).
    `target` is the sparsity of a round on the way to `sparsity`.
    """
    from obtransfer.artifacts import map_tensors, write_table, write_tensors
    from obtransfer.masks.mask import Mask
    from obtransfer.registry import ALLOCATIONS, resolve

    scored = map_tensors(scores, kind="scores")
    names = scored.metadata["layers"]
    found = Mask(
        resolve(ALLOCATIONS[allocation])({name: scored.tensors[name] for name in names}, target or sparsity)
    )
    if weights and curvature:
        from obtransfer.masks.update import joint_update

        dense = map_tensors(weights, kind="backbone").tensors
        blocks = map_tensors(curvature, kind="curvature").tensors
        damping = scored.metadata["details"]["absolute_damping"]
        updated = joint_update({name: dense[name] for name in names}, found.kept, blocks, damping)
        found = Mask(found.kept, updated)
    collapsed = found.collapsed_layers()
    if collapsed:
        print(f"layer collapse: no weights left in {', '.join(collapsed)}", flush=True)
    metadata = {
        "sparsity": target or sparsity,
        "allocation": allocation,
        "num_weights": found.num_weights,
        "num_removed": found.num_removed,
        "density_by_layer": found.density_by_layer(),
        "collapsed_layers": collapsed,
        "shapes": found.shapes(),
        "made": made,
    }
    write_tensors(mask, found.tensors(), kind="mask", metadata=metadata)
    write_table(layers, found.layer_rows(), kind="layers", metadata={"made": made})


if "snakemake" in globals():
    run_step(compute_mask, globals()["snakemake"])
