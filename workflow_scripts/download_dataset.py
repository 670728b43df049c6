"""Have a data set that torchvision knows downloaded, once, before any task is made of it."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def download_dataset(images: Path, *, dataset: str, entry: dict[str, Any], reader: str) -> None:
    """Write `images`, a "dataset" table: how many images every class has to train on and to test."""
    import numpy as np
    from obtransfer.artifacts import write_table
    from obtransfer.data.on_disk import with_root
    from obtransfer.registry import resolve

    data_set, entry = resolve(reader), with_root(entry)
    data_set.fetch(entry)
    names = data_set.classes(entry)
    train, test = data_set.pools(entry, range(len(names)))
    counts = [
        np.bincount(pool.labels, minlength=len(names)) if pool else np.zeros(len(names), int)
        for pool in (train, test)
    ]
    rows = [
        {"class": name, "train": int(of_train), "test": int(of_test)}
        for name, of_train, of_test in zip(names, *counts, strict=True)
    ]
    write_table(images, rows, kind="dataset", metadata={"dataset": dataset, "kind": entry["kind"]})


if "snakemake" in globals():
    run_step(download_dataset, globals()["snakemake"], preload=("torch", "torchvision"))
