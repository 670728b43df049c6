"""Accuracy of a dense, pruned or fine-tuned backbone on every task of a suite."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.runtime.step import run_step

if TYPE_CHECKING:
    from obtransfer.settings import Precision


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
    precision: "Precision",
    made: dict[str, Any],
) -> None:
    """Write `accuracies`, an "evaluation" table: a row per task and head (zero_shot, probe)."""
    from obtransfer.artifacts import map_tensors, read_tensors, write_table
    from obtransfer.assemble import load_pruned
    from obtransfer.evaluate.tasks import evaluate_tasks
    from obtransfer.heads.ridge import RidgeHead
    from obtransfer.runtime.device import device
    from obtransfer.runtime.progress import bar

    backbone = load_pruned(weights, mask, recalibration, device=device())
    images = {path.parent.name: map_tensors(path, kind="task") for path in tasks}
    fitted = {path.stem: read_tensors(path, kind="head") for path in heads}
    classifiers = {task: RidgeHead(**head.tensors) for task, head in fitted.items()}
    with bar(len(images), "tasks") as progress:
        rows = evaluate_tasks(
            backbone,
            images,
            classifiers,
            alpha=alpha,
            batch_size=batch_size,
            precision=precision,
            progress=progress,
        )
    for row in rows:
        head = fitted[str(row["task"])]
        # A probe is always fitted on the train split.
        fit_split = head.metadata["fit_split"] if row["head"] == "zero_shot" else "train"
        row |= {"num_classes": len(head.tensors["bias"]), "fit_split": fit_split}
    metadata = {key: backbone.metadata[key] for key in ("backbone", "density", "collapsed_layers")}
    metadata["made"] = made
    write_table(accuracies, rows, kind="evaluation", metadata=metadata)


if "snakemake" in globals():
    run_step(evaluate, globals()["snakemake"], preload=("torch", "timm"))
