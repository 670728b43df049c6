"""Scores of the last of many rounds; each round computes its statistic on the weights that the one before has left."""

from functools import partial
from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def score_in_rounds(
    weights: Path,
    task_images: Path | None,
    head: Path | None,
    damping: Path | None,
    scores: Path,
    *,
    criterion: str,
    options: dict[str, Any],
    statistic: dict[str, Any],
    allocation: str,
    sparsities: list[str],
    seed: int,
    made: dict[str, Any],
) -> None:
    """Write `scores`, from which the final mask is made; a killed run continues from a checkpoint beside them."""
    from obtransfer.artifacts import map_tensors, read_table, write_tensors
    from obtransfer.assemble import load_pruned
    from obtransfer.curvature.request import Request
    from obtransfer.curvature.statistic import Calibration, read_calibration, statistic_of
    from obtransfer.curvature.structures.base import parse
    from obtransfer.pruning.rounds import score_in_rounds as go_through_rounds
    from obtransfer.pruning.rounds import score_survivors
    from obtransfer.registry import ALLOCATIONS, CRITERIA, resolve
    from obtransfer.runtime.device import device
    from obtransfer.runtime.progress import bar

    backbone = load_pruned(weights, None, None, device=device())
    tensors = map_tensors(weights, kind="backbone").tensors
    dense = {name: tensors[name] for name in backbone.prunable}
    request, structure, calibration = None, "", Calibration.blank(backbone.preprocessing, device())
    if statistic:
        named = statistic["estimator"], statistic["structure"]
        request = Request.of(*named, statistic["settings"], seed=seed, parameters=backbone.prunable)
        structure = parse(request.structure)[0]
    if statistic and task_images is not None and head is not None:
        calibration = read_calibration(
            task_images, head, backbone.preprocessing, statistic["settings"], seed=seed, device=device()
        )
    if damping:
        options = {**options, "damping": read_table(damping, kind="damping").metadata["chosen"]}
    make_scores = partial(CRITERIA[criterion].scores, options=options, seed=seed)
    checkpoint = scores.with_name(f"{scores.stem}.checkpoint.safetensors")
    with bar(len(sparsities), "rounds") as progress:
        found = go_through_rounds(
            backbone.model,
            sparsities,
            score=lambda kept: score_survivors(
                make_scores,
                dense,
                statistic_of(backbone.model, calibration, request) if request else None,
                kept,
                structure,
            ),
            allocate=resolve(ALLOCATIONS[allocation]),
            checkpoint=checkpoint,
            identity=made,
            progress=progress,
        )
    metadata = {
        "backbone": backbone.name,
        "criterion": criterion,
        "layers": list(backbone.prunable),
        "details": found.details,
        "made": made,
    }
    write_tensors(scores, found.scores, kind="scores", metadata=metadata)
    checkpoint.unlink(missing_ok=True)


if "snakemake" in globals():
    run_step(score_in_rounds, globals()["snakemake"], preload=("torch", "timm"))
