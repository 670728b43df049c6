"""Render or read the images of one task, once for every view, as bytes with their splits."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def prepare_task(
    task_images: Path,
    *,
    task: str,
    view: str,
    loader: str,
    data: dict[str, Any],
    settings: dict[str, Any],
    threads: int,
    made: dict[str, Any],
) -> None:
    """Write `task_images`, a "task" artefact: pixels uint8 [N, H, W, 3], labels and split [N]."""
    from obtransfer.artifacts import write_tensors
    from obtransfer.registry import resolve

    task_images.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "seed": data["seed"],
        "images_per_class": data["images_per_class"],
        "view": view,
    }
    if settings:
        options["settings"] = {**settings, "threads": threads, "scratch": str(task_images.parent)}
    images = resolve(loader)(task, **options)
    tensors = {"pixels": images.pixels, "labels": images.labels, "split": images.split}
    metadata = {
        "task": task,
        "view": view,
        "classes": list(images.classes),
        "seed": data["seed"],
        **images.notes,
        "made": {**made, "settings": _without_places(made["settings"])},
    }
    write_tensors(task_images, tensors, kind="task", metadata=metadata)


def _without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """Where the files are and how fast they are read changes no pixel."""
    kept = {key: value for key, value in settings.items() if key != "threads"}
    if "dataset" in kept["settings"]:
        dataset = {key: value for key, value in kept["settings"]["dataset"].items() if key != "root"}
        kept["settings"] = {**kept["settings"], "dataset": dataset}
    return kept


if "snakemake" in globals():
    run_step(prepare_task, globals()["snakemake"], preload=("torch",))
