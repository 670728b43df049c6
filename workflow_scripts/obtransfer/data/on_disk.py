"""Tasks made of a data set on disk and a list of classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from obtransfer.data.assign_splits import Count, deal
from obtransfer.data.classes import choose_classes
from obtransfer.data.decode import Filled, fill
from obtransfer.data.pool import DataSet
from obtransfer.data.splits import TaskImages
from obtransfer.data.view import parse_view
from obtransfer.errors import ObtransferError
from obtransfer.registry import resolve
from obtransfer.runtime.progress import bar


def load(
    task: str, *, seed: int, images_per_class: Mapping[str, Count], view: str, settings: Mapping[str, Any]
) -> TaskImages:
    """Choose classes and images by seed, and decode them.

    Args:
        task: its name, for messages.
        seed: of the images, and of the classes where these are drawn without a seed of their own.
        images_per_class: of every split; "rest" as for `deal`.
        view: of the backbone.
        settings: `images` (the registry's name of the data set's kind), `dataset` (its entry in the configuration),
            `classes` (as for `choose_classes`; may be missing), `max_corrupt`, `threads`, `scratch`.

    Returns:
        Images ordered by split and class; the pixels are mapped from a file without a name. Notes: the names of images
        that were left out.

    Raises:
        ObtransferError: something is missing, ambiguous or damaged; begins with the task's name.
    """
    try:
        data_set: DataSet = resolve(settings["images"])
        entry = with_root(settings["dataset"])
        names = data_set.classes(entry)
        chosen = choose_classes(settings.get("classes"), names, seed)
        pools = data_set.pools(entry, chosen)
        dealt = deal(pools, chosen, names, images_per_class, seed)
        with bar(len(dealt.slots), "images") as progress:
            found = fill(
                pools,
                dealt,
                parse_view(view),
                max_corrupt=settings["max_corrupt"],
                threads=settings["threads"],
                scratch=Path(settings["scratch"]),
                progress=progress,
            )
    except ObtransferError as error:
        raise ObtransferError(f"task {task}: {error}") from error
    return _images(found, tuple(names[index] for index in chosen))


def with_root(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A data set's settings with an absolute root; relative ones begin at the working folder, ``~`` at home.

    Raises:
        ObtransferError: there is no such folder, and nothing may be downloaded into it.
    """
    root = Path(entry["root"]).expanduser().absolute()
    if not root.is_dir() and not entry.get("download"):
        raise ObtransferError(
            f"there is no folder {root}, the root of a data set of kind {entry['kind']}; correct its root under datasets"
        )
    return {**entry, "root": str(root)}


def _images(found: Filled, classes: tuple[str, ...]) -> TaskImages:
    labels = np.array([slot.label for slot in found.slots], dtype=np.int64)
    split = np.array([slot.split for slot in found.slots], dtype=np.uint8)
    notes = {"corrupt": sorted(found.corrupt), "repeated": sorted(found.repeated)}
    return TaskImages(found.pixels, labels, split, classes, notes)
