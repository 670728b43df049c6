"""Download a data set that torchvision knows, once, before any task is made of it."""

from pathlib import Path

from obtransfer.runtime.step import run_step
from obtransfer.settings import DatasetEntry


def download_dataset(images: Path, *, dataset: str, entry: DatasetEntry) -> None:
    """Write `images`, a "dataset" table: how many training and test images every class has."""
    import numpy as np
    from obtransfer.artifacts import write_table
    from obtransfer.data.on_disk import root_of
    from obtransfer.registry import DATASETS

    reader, root = DATASETS[entry.kind], root_of(entry)
    reader.fetch(root)
    names = reader.classes(root)
    train, test = reader.pools(root, range(len(names)))
    counts = [
        np.bincount(pool.labels, minlength=len(names)) if pool else np.zeros(len(names), int)
        for pool in (train, test)
    ]
    rows = [
        {"class": name, "train": int(of_train), "test": int(of_test)}
        for name, of_train, of_test in zip(names, *counts, strict=True)
    ]
    write_table(images, rows, kind="dataset", metadata={"dataset": dataset, "kind": entry.kind})


if "snakemake" in globals():
    run_step(download_dataset, globals()["snakemake"], preload=("torch", "torchvision"))
