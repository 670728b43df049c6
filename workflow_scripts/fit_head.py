"""Fit the frozen head of one task on the dense backbone's features."""

from pathlib import Path
from typing import Any

from obtransfer.step import run_step


def fit_head(
    weights: Path, task_images: Path, head: Path, *, alpha: float, batch_size: int, made: dict[str, Any]
) -> None:
    """Write `head`, a "head" artefact: the ridge classifier of the train split, scored on the validation split."""
    from obtransfer.artifacts import map_tensors, write_tensors
    from obtransfer.data.pixels import select
    from obtransfer.evaluate.accuracy import score_logits
    from obtransfer.evaluate.features import extract_features
    from obtransfer.heads.ridge import fit_ridge
    from obtransfer.models.load import load_backbone
    from obtransfer.progress import bar
    from obtransfer.step import device

    model, card = load_backbone(weights)
    task = map_tensors(task_images, kind="task")
    features, labels = {}, {}
    for split in ("train", "validation"):
        pixels, labels[split] = select(task, split)
        with bar(len(pixels), f"features of {split}") as progress:
            features[split] = extract_features(
                model.to(device()),
                pixels,
                mean=card["mean"],
                std=card["std"],
                batch_size=batch_size,
                device=device(),
                progress=progress,
            )
    ridge = fit_ridge(features["train"], labels["train"], len(task.metadata["classes"]), alpha=alpha)
    accuracy = {split: score_logits(ridge.logits(features[split]), labels[split])[0] for split in features}
    metadata = {
        "backbone": card["backbone"],
        "task": task.metadata["task"],
        "alpha": alpha,
        "num_train": len(labels["train"]),
        "train_accuracy": accuracy["train"],
        "validation_accuracy": accuracy["validation"],
        "made": made,
    }
    write_tensors(head, {"weight": ridge.weight, "bias": ridge.bias}, kind="head", metadata=metadata)


if "snakemake" in globals():
    run_step(fit_head, globals()["snakemake"], preload=("torch", "timm"))
