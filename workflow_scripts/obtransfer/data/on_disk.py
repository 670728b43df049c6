"""Tasks made of some classes of a data set on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from obtransfer.config.settings import DatasetEntry
from obtransfer.data.assign_splits import Count, assign_splits
from obtransfer.data.classes import Classes, choose_classes
from obtransfer.data.decode import Decoded, Decoding, decode_images
from obtransfer.data.splits import TaskImages
from obtransfer.data.view import parse_view
from obtransfer.errors import ObtransferError
from obtransfer.registry import DATASETS
from obtransfer.runtime.progress import bar


def load(
    task: str,
    dataset: DatasetEntry,
    classes: Classes,
    how: Decoding,
    *,
    seed: int,
    images_per_class: Mapping[str, Count],
    view: str,
) -> TaskImages:
    """Choose classes and images by seed, and decode them.

    Args:
        task: its name, for messages.
        dataset: kind and folder.
        classes: of the data set, as for `choose_classes`.
        how: threads, limits and a folder for the pixels.
        seed: of the images, and of classes that are drawn without a seed of their own.
        images_per_class: of every split; "rest" as for `assign_splits`.
        view: of the backbone.

    Returns:
        Images ordered by split and class; the pixels are mapped from a file without a name. Notes: the names of images
        that were left out.

    Raises:
        ObtransferError: something is missing, ambiguous or damaged; begins with the task's name.
    """
    try:
        reader, root = DATASETS[dataset.kind], root_of(dataset)
        names = reader.classes(root)
        chosen = choose_classes(classes, names, seed)
        pools = reader.pools(root, chosen)
        assignment = assign_splits(pools, chosen, names, images_per_class, seed)
        with bar(len(assignment.slots), "images") as progress:
            found = decode_images(pools, assignment, parse_view(view), how, progress)
    except ObtransferError as error:
        raise ObtransferError(f"task {task}: {error}") from error
    return _images(found, tuple(names[index] for index in chosen))


def root_of(dataset: DatasetEntry) -> Path:
    """The absolute folder of a data set; a relative one starts at the working folder.

    Raises:
        ObtransferError: there is no such folder, and nothing may be downloaded into it.
    """
    root = Path(dataset.root).absolute()
    if not root.is_dir() and not dataset.download:
        raise ObtransferError(
            f"there is no folder {root}, the root of a data set of kind {dataset.kind}; correct its root under datasets"
        )
    return root


def _images(found: Decoded, classes: tuple[str, ...]) -> TaskImages:
    labels = np.array([slot.label for slot in found.slots], dtype=np.int64)
    split = np.array([slot.split for slot in found.slots], dtype=np.uint8)
    notes = {"corrupt": sorted(found.corrupt), "repeated": sorted(found.repeated)}
    return TaskImages(found.pixels, labels, split, classes, notes)
