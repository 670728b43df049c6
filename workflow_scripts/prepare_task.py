"""Render or read the images of one task, once, as bytes with their splits."""

from pathlib import Path
from typing import Any

from obtransfer.step import run_step


def prepare_task(
    task_images: Path, *, task: str, loader: str, data: dict[str, Any], made: dict[str, Any]
) -> None:
    """Write `task_images`, a "task" artefact: pixels uint8 [N, H, W, 3], labels and split [N]."""
    from obtransfer.artifacts import write_tensors
    from obtransfer.resolve import resolve

    images = resolve(loader)(task, seed=data["seed"], images_per_class=data["images_per_class"])
    tensors = {"pixels": images.pixels, "labels": images.labels, "split": images.split}
    metadata = {"task": task, "classes": list(images.classes), "seed": data["seed"], "made": made}
    write_tensors(task_images, tensors, kind="task", metadata=metadata)


if "snakemake" in globals():
    run_step(prepare_task, globals()["snakemake"], preload=("torch",))
