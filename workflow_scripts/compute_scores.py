"""Importance of every prunable weight under one criterion."""

from functools import partial
from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def compute_scores(
    weights: Path,
    mask: Path | None,
    curvature: Path | None,
    damping: Path | None,
    scores: Path,
    *,
    criterion: str,
    options: dict[str, Any],
    seed: int,
    made: dict[str, Any],
) -> None:
    """Write `scores`: for each prunable weight, the estimated increase of the loss when it is removed."""
    from obtransfer.artifacts import check_finite, map_tensors, read_table, write_tensors
    from obtransfer.assemble import read_mask
    from obtransfer.pruning.rounds import score_survivors
    from obtransfer.registry import CRITERIA

    backbone = map_tensors(weights, kind="backbone")
    prunable = {name: backbone.tensors[name] for name in backbone.metadata["prunable"]}
    statistics = map_tensors(curvature, kind="curvature") if curvature else None
    tensors = statistics.tensors if statistics else None
    if damping:
        options = {**options, "damping": read_table(damping, kind="damping").metadata["chosen"]}
    make_scores = partial(CRITERIA[criterion].scores, options=options, seed=seed)
    if mask:
        structure = statistics.metadata["structure"] if statistics else "none"
        found = score_survivors(make_scores, prunable, tensors, read_mask(mask).kept, structure)
    else:
        found = make_scores(prunable, tensors)
        check_finite(found.scores, f"scores of {backbone.metadata['backbone']} by {criterion}")
    metadata = {
        "backbone": backbone.metadata["backbone"],
        "criterion": criterion,
        "layers": list(prunable),  # in the network's order, which decides between equal scores
        "details": found.details,
        "made": made,
    }
    write_tensors(scores, found.scores, kind="scores", metadata=metadata)


if "snakemake" in globals():
    run_step(compute_scores, globals()["snakemake"])
