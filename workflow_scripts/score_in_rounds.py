"""Scores of the last of many rounds, each of which computes its statistic anew on what the last has left."""

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
    score: str,
    options: dict[str, Any],
    statistic: dict[str, Any],
    allocate: str,
    sparsities: list[str],
    chance: int,
    made: dict[str, Any],
) -> None:
    """Write `scores`, from which the final mask is made; a checkpoint beside them lets a killed run go on."""
    from obtransfer.artifacts import map_tensors, read_table, write_tensors
    from obtransfer.assemble import load_pruned
    from obtransfer.curvature.statistic import compute_with_earlier, parse_structure, read_calibration
    from obtransfer.pruning.rounds import score_in_rounds as go
    from obtransfer.pruning.rounds import score_survivors
    from obtransfer.registry import CRITERIA, resolve
    from obtransfer.runtime.progress import bar
    from obtransfer.runtime.step import device

    backbone = load_pruned(weights, None, None, device=device())
    model, card = backbone.model, backbone.metadata
    dense = map_tensors(weights, kind="backbone").tensors
    calibration = None
    if statistic and task_images is not None and head is not None:
        settings = statistic["settings"]
        examples = {key: settings[key] for key in ("num_examples", "batch_size")}
        calibration = read_calibration(
            task_images, head, backbone.preprocessing, **examples, seed=chance, device=device()
        )
    if damping:
        options = {**options, "damping": read_table(damping, kind="damping").metadata["chosen"]}
    make_scores = partial(CRITERIA[score].scores, options=options, seed=chance)
    structure = parse_structure(statistic["structure"])[0] if statistic else "none"
    checkpoint = scores.with_name(f"{scores.stem}.checkpoint.safetensors")
    with bar(len(sparsities), "rounds") as progress:
        found = go(
            model,
            {name: dense[name] for name in card["prunable"]},
            sparsities,
            statistic=lambda masked: compute_with_earlier(masked, card, calibration, statistic, seed=chance),
            score=lambda left, statistics, mask: score_survivors(
                make_scores, left, statistics, mask, structure
            ),
            allocate=resolve(allocate),
            checkpoint=checkpoint,
            identity=made,
            progress=progress,
        )
    metadata = {
        "backbone": card["backbone"],
        "score": score,
        "layers": card["prunable"],
        "details": found.details,
        "made": made,
    }
    write_tensors(scores, found.scores, kind="scores", metadata=metadata)
    checkpoint.unlink(missing_ok=True)


if "snakemake" in globals():
    run_step(score_in_rounds, globals()["snakemake"], preload=("torch", "timm"))
