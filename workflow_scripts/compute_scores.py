"""Importance of every prunable weight under one criterion."""

from pathlib import Path
from typing import Any

from obtransfer.step import run_step


def compute_scores(
    weights: Path,
    curvature: Path | None,
    scores: Path,
    *,
    score: str,
    damping: dict[str, Any],
    chance: int,
    made: dict[str, Any],
) -> None:
    """Write `scores`: for each prunable weight the estimated increase of the loss on its removal."""
    from obtransfer.artifacts import check_finite, map_tensors, write_tensors
    from obtransfer.resolve import resolve

    backbone = map_tensors(weights, kind="backbone")
    prunable = {name: backbone.tensors[name] for name in backbone.metadata["prunable"]}
    statistics = map_tensors(curvature, kind="curvature").tensors if curvature else None
    found = resolve(score)(prunable, statistics, seed=chance, **damping)
    check_finite(found.scores, f"scores of {backbone.metadata['backbone']} by {score}")
    metadata = {
        "backbone": backbone.metadata["backbone"],
        "score": score,
        "layers": list(prunable),  # in the network's order, which decides between equal scores
        "details": found.details,
        "made": made,
    }
    write_tensors(scores, found.scores, kind="scores", metadata=metadata)


if "snakemake" in globals():
    run_step(compute_scores, globals()["snakemake"])
