"""A folder of images: a folder for every class, alone or inside train and val (or test)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from obtransfer.data.listing import folders, images_below, images_in
from obtransfer.data.pool import DatasetReader, ImagePool
from obtransfer.errors import ObtransferError

TRAIN = "train"
VALIDATION = ("val", "valid", "validation")
TEST = "test"


class ImageFolder(DatasetReader):
    """``root/class/image.jpg``, split by seed; or ``root/train/class/image.jpg`` and the same below val or test.

    The trap: a class may be called train. A folder has the second layout where ``root/train`` holds folders. Test images
    come from test, else from val; where there are both, the images of val join those of train, which all splits but test
    come from. Images are recognised by their ending, at any depth below the folder of their class.
    """

    def classes(self, root: Path) -> tuple[str, ...]:
        """Names of the folders in all parts, sorted."""
        train, test = _parts(root)
        names = sorted({name for part in (*train, *([test] if test else [])) for name in folders(part)})
        if not names:
            raise ObtransferError(
                f"{train[0]} has no folders; needed one for every class, with its images: {train[0]}/CLASS/IMAGE.jpg"
            )
        return tuple(names)

    def pools(self, root: Path, chosen: Sequence[int]) -> tuple[ImagePool, ImagePool | None]:
        """Images below train (or the root), and below test or val."""
        names = self.classes(root)
        train, test = _parts(root)
        of_train = list_images(root, train, names, chosen)
        return of_train, list_images(root, [test], names, chosen) if test else None


def list_images(root: Path, parts: Sequence[Path], names: Sequence[str], chosen: Sequence[int]) -> ImagePool:
    """The images of the chosen classes in ``part/class`` for every part; a folder that is not there has none."""
    paths: list[str] = []
    labels: list[int] = []
    left_out = Counter({"images outside the folders of classes": sum(len(images_in(part)) for part in parts)})
    for index in chosen:
        below = [path for part in parts for path in images_below(part / names[index], left_out)]
        paths += sorted(os.path.relpath(path, root) for path in below)
        labels += [index] * len(below)
    return ImagePool(paths, np.array(labels, dtype=np.int64), root, +left_out)


def _parts(root: Path) -> tuple[list[Path], Path | None]:
    """Where images to train on are, and where official test images are."""
    train = root / TRAIN
    if not train.is_dir() or not folders(train):
        return [root], None
    validation = [root / name for name in VALIDATION if (root / name).is_dir()]
    if (root / TEST).is_dir():
        return [train, *validation], root / TEST
    if not validation:
        raise ObtransferError(
            f"{root} has a folder {TRAIN} with classes, but none of {', '.join(VALIDATION)}, {TEST} beside it; add one, or "
            f"set the root to {train} to split those images by seed"
        )
    return [train], validation[0]


DATASET = ImageFolder()
