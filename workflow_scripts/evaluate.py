"""Accuracy of a dense, pruned or fine-tuned backbone on every task of a suite."""

from pathlib import Path
from typing import Any

from obtransfer.step import run_step


def evaluate(
    weights: Path,
    mask: Path | None,
    recalibration: Path | None,
    tasks: list[Path],
    heads: list[Path],
    accuracies: Path,
    *,
    alpha: float,
    batch_size: int,
    made: dict[str, Any],
) -> None:
    """Write `accuracies`, an "evaluation" table: a row per task and head (zero_shot, probe)."""
    from obtransfer.artifacts import map_tensors, read_tensors, write_table
    from obtransfer.evaluate.tasks import evaluate_tasks
    from obtransfer.heads.ridge import RidgeHead
    from obtransfer.progress import bar
    from obtransfer.pruned import load_pruned
    from obtransfer.step import device

    model, card = load_pruned(weights, mask, recalibration, device=device())
    images = {path.stem: map_tensors(path, kind="task") for path in tasks}
    classifiers = {path.stem: RidgeHead(**read_tensors(path, kind="head").tensors) for path in heads}
    with bar(len(images), "tasks") as progress:
        rows = evaluate_tasks(
            model,
            images,
            classifiers,
            alpha=alpha,
            mean=card["mean"],
            std=card["std"],
            batch_size=batch_size,
            device=device(),
            progress=progress,
        )
    metadata = {key: card[key] for key in ("backbone", "density", "collapsed_layers")} | {"made": made}
    write_table(accuracies, rows, kind="evaluation", metadata=metadata)


if "snakemake" in globals():
    run_step(evaluate, globals()["snakemake"], preload=("torch", "timm"))
