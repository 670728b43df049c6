"""Fit the frozen head of one task on the dense backbone's features."""

import sys
from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step

MOST_CALIBRATION = 200


def fit_head(
    weights: Path,
    task_images: Path,
    head: Path,
    *,
    alpha: float,
    fit_split: str,
    batch_size: int,
    made: dict[str, Any],
) -> None:
    """Write `head`, a "head" artefact: the ridge classifier of one split, scored on the validation split.

    `fit_split` is train, or test, on which heads are later scored; that is the protocol of the paper's authors. The card has the
    mean and standard deviation of the features of calibration images. The log warns of features that look random.
    """
    from obtransfer.artifacts import map_tensors, write_tensors
    from obtransfer.data.pixels import select
    from obtransfer.evaluate.accuracy import score_logits
    from obtransfer.evaluate.features import extract_features
    from obtransfer.heads.ridge import fit_ridge
    from obtransfer.heads.sanity import banner, doubts, feature_statistics
    from obtransfer.models.load import load_backbone
    from obtransfer.runtime.device import device
    from obtransfer.runtime.progress import bar

    backbone = load_backbone(weights)
    model = backbone.model.to(device())
    task = map_tensors(task_images, kind="task")
    features, labels = {}, {}
    for split in (fit_split, "validation", "calibration"):
        pixels, labels[split] = select(task, split)
        if split == "calibration":  # for the statistics only
            pixels = pixels[:: -(-len(pixels) // MOST_CALIBRATION)]
        with bar(len(pixels), f"features of {split}") as progress:
            features[split] = extract_features(
                model,
                pixels,
                backbone.preprocessing,
                batch_size=batch_size,
                progress=progress,
            )
    ridge = fit_ridge(features[fit_split], labels[fit_split], len(task.metadata["classes"]), alpha=alpha)
    accuracy = {
        split: score_logits(ridge.logits(features[split]), labels[split])[0]
        for split in (fit_split, "validation")
    }
    statistics = feature_statistics(features["calibration"])
    reasons = doubts(accuracy["validation"], ridge.num_classes, len(labels["validation"]), statistics)
    if reasons:
        print(banner(f"{backbone.name} on the task {task.metadata['task']}", reasons), file=sys.stderr)
    metadata = {
        "backbone": backbone.name,
        "task": task.metadata["task"],
        "alpha": alpha,
        "fit_split": fit_split,
        "num_fitted": len(labels[fit_split]),
        "fitted_accuracy": accuracy[fit_split],
        "validation_accuracy": accuracy["validation"],
        "features": statistics,
        "doubts": reasons,
        "made": made,
    }
    write_tensors(head, {"weight": ridge.weight, "bias": ridge.bias}, kind="head", metadata=metadata)


if "snakemake" in globals():
    run_step(fit_head, globals()["snakemake"], preload=("torch", "timm"))
