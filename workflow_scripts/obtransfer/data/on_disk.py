"""Tasks made of some classes of a data set on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from obtransfer.data.assign_splits import Count, all_left_out, assign_splits
from obtransfer.data.classes import Classes, choose_classes
from obtransfer.data.decode import Decoded, Decoding, decode_images
from obtransfer.data.listing import in_words
from obtransfer.data.splits import TaskImages
from obtransfer.data.view import parse_view
from obtransfer.errors import ObtransferError
from obtransfer.registry import DATASETS
from obtransfer.runtime.progress import bar
from obtransfer.settings import DatasetEntry


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
        left_out = all_left_out(pools)
        if left_out:
            print(f"left out: {in_words(left_out.most_common())}", flush=True)
        assignment = assign_splits(pools, chosen, names, images_per_class, seed)
        with bar(len(assignment.slots), "images") as progress:
            found = decode_images(pools, assignment, parse_view(view), how, progress)
        images = _images(found, [names[index] for index in chosen])
        return replace(images, notes={**images.notes, "left_out": dict(left_out)})
    except ObtransferError as error:
        raise ObtransferError(f"task {task}: {error}") from error


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


def _images(found: Decoded, classes: Sequence[str]) -> TaskImages:
    labels = np.array([slot.label for slot in found.slots], dtype=np.int64)
    split = np.array([slot.split for slot in found.slots], dtype=np.uint8)
    notes = {
        "corrupt": sorted(found.corrupt),
        "repeated": sorted(found.repeated),
        "one_colour": _of_one_colour(found.one_colour, labels, classes),
        "turned": found.turned,
    }
    if found.turned:
        print(f"{found.turned} images have an EXIF orientation; they are used as they are stored", flush=True)
    return TaskImages(found.pixels, labels, split, tuple(classes), notes)


def _of_one_colour(one_colour: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Classes all of whose images have one colour.

    Raises:
        ObtransferError: all classes are such.
    """
    plain = [name for label, name in enumerate(classes) if one_colour[labels == label].all()]
    if len(plain) == len(classes):
        raise ObtransferError(
            "needed images with something in them; got images of one colour only; look at some of the files: values of 12 "
            "bits in a file of 16 bits, for example, are nearly black"
        )
    if plain:
        print(f"all images of these classes have one colour: {', '.join(plain)}", flush=True)
    return plain
