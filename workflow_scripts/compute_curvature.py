"""Curvature of the source task's loss at the pre-trained weights."""

from pathlib import Path
from typing import Any

from obtransfer.step import run_step


def compute_curvature(
    weights: Path,
    task_images: Path,
    head: Path,
    curvature: Path,
    *,
    estimator: str,
    structure: str,
    seed: str,
    settings: dict[str, Any],
    made: dict[str, Any],
) -> None:
    """Write `curvature`: a diagonal or blocks, from `num_examples` calibration images drawn by `seed`."""
    import numpy as np
    import torch
    from obtransfer.artifacts import check_finite, map_tensors, read_tensors, write_tensors
    from obtransfer.curvature.compute import compute_curvature as accumulate
    from obtransfer.data.pixels import batches, select
    from obtransfer.models.load import load_backbone
    from obtransfer.progress import bar
    from obtransfer.step import device

    model, card = load_backbone(weights)
    pixels, labels = select(map_tensors(task_images, kind="task"), "calibration")
    chosen = np.sort(np.random.default_rng(int(seed)).permutation(len(labels))[: settings["num_examples"]])
    classifier = {
        name: torch.from_numpy(array).float().to(device())
        for name, array in read_tensors(head, kind="head").tensors.items()
    }
    block_size = int(structure.removeprefix("block")) if structure.startswith("block") else None
    data = batches(
        pixels[chosen],
        labels[chosen],
        mean=card["mean"],
        std=card["std"],
        batch_size=settings["batch_size"],
        device=device(),
    )
    with bar(len(chosen), f"{estimator} {structure}") as progress:
        found = accumulate(
            model.to(device()),
            classifier["weight"],
            classifier["bias"],
            data,
            estimator=estimator,
            structure="block" if block_size else "diagonal",
            block_size=block_size or 1,
            parameters=card["prunable"],
            progress=progress,
        )
    tensors = {name: tensor.cpu().numpy() for name, tensor in found.items()}
    check_finite(tensors, f"{estimator} {structure} of {card['backbone']}")
    metadata = {
        "backbone": card["backbone"],
        "estimator": estimator,
        "structure": "block" if block_size else "diagonal",
        "block_size": block_size,
        "num_examples": len(chosen),
        "num_classes": len(classifier["bias"]),
        "made": made,
    }
    write_tensors(curvature, tensors, kind="curvature", metadata=metadata)


if "snakemake" in globals():
    run_step(compute_curvature, globals()["snakemake"], preload=("torch", "timm"))
