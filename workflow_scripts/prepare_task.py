"""Render or read the images of one task, once for every view, as bytes with their splits."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def prepare_task(
    task_images: Path,
    *,
    task: str,
    view: str,
    data: dict[str, Any],
    settings: dict[str, Any],
    threads: int,
    made: dict[str, Any],
) -> None:
    """Write `task_images`, a "task" artefact: pixels uint8 [N, H, W, 3], labels and split [N].

    `data`: seed and images_per_class; `settings`: dataset, classes, max_corrupt and background of a task from a data
    set, else empty.
    """
    from obtransfer.artifacts import write_tensors
    from obtransfer.registry import TASKS

    task_images.parent.mkdir(parents=True, exist_ok=True)
    if settings:
        images = _from_disk(task, settings, threads, task_images.parent, **data, view=view)
    else:
        images = TASKS[task].load(task, **data, view=view)
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


def _from_disk(task: str, settings: dict[str, Any], threads: int, scratch: Path, **data: Any) -> Any:
    from importlib import import_module

    # By name, so that these are not part of the digest of tasks that are rendered.
    declared, decode, on_disk = map(
        import_module, ("obtransfer.settings", "obtransfer.data.decode", "obtransfer.data.on_disk")
    )
    dataset, classes = declared.DatasetEntry(**settings["dataset"]), settings["classes"]
    if isinstance(classes, dict):
        classes = declared.Draw(**classes)
    how = decode.Decoding(settings["max_corrupt"], threads, scratch, settings["background"])
    return on_disk.load(task, dataset, classes, how, **data)


def _without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """Where the files are and how fast they are read changes no pixel."""
    kept = {key: value for key, value in settings.items() if key != "threads"}
    if "dataset" in kept["settings"]:
        dataset = {key: value for key, value in kept["settings"]["dataset"].items() if key != "root"}
        kept["settings"] = {**kept["settings"], "dataset": dataset}
    return kept


if "snakemake" in globals():
    run_step(prepare_task, globals()["snakemake"], preload=("torch",))
