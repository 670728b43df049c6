"""ImageNet-1k as the usual folder tree: train and val, in each a folder for every class, named by its WordNet id."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from obtransfer.data.image_folder import list_images
from obtransfer.data.listing import folders
from obtransfer.data.pool import DatasetReader, ImagePool
from obtransfer.errors import ObtransferError

TRAIN, TEST = "train", "val"
_MOST_NAMED = 10


class ImageNet(DatasetReader):
    """Train images from ``root/train/n…``, test images from ``root/val/n…``; only the wanted classes must be there."""

    num_classes = 1000

    def classes(self, root: Path) -> tuple[str, ...]:
        """The thousand WordNet ids in the order of the class indices."""
        return wordnet_ids()

    def pools(self, root: Path, chosen: Sequence[int]) -> tuple[ImagePool, ImagePool]:
        """The images of the chosen classes; all missing folders are reported together."""
        names = self.classes(root)
        _check_layout(root)
        lacking = [_lacking(root / part, names, chosen) for part in (TRAIN, TEST)]
        if any(lacking):
            raise ObtransferError(
                f"{root} lacks folders of classes: {'; '.join(filter(None, lacking))}; add them, or choose other classes"
            )
        return (
            list_images(root, [root / TRAIN], names, chosen),
            list_images(root, [root / TEST], names, chosen),
        )


@cache
def wordnet_ids() -> tuple[str, ...]:
    """timm's list, read without importing timm, which takes seconds.

    Raises:
        ObtransferError: timm is not installed, or no longer has the file.
    """
    package = find_spec("timm")
    path = Path(package.origin or "").parent / "data/_info/imagenet_synsets.txt" if package else Path()
    if not path.is_file():
        raise ObtransferError(
            "ImageNet's classes come with timm, which is not installed or lacks them; run pip install timm"
        )
    return tuple(path.read_text(encoding="utf-8").split())


def _check_layout(root: Path) -> None:
    for part in (TRAIN, TEST):
        folder = root / part
        if not folder.is_dir():
            inside = ", ".join(sorted(folders(root))[:_MOST_NAMED]) or "no folders"
            raise ObtransferError(
                f"there is no folder {folder} ({root} has {inside}); the root of ImageNet is the folder with {TRAIN} and {TEST}"
            )
        if not folders(folder):
            raise ObtransferError(
                f"{folder} has no folders; needed one for every class, named by its WordNet id (n01440764, …), with its "
                "images: sort the images into them"
            )


def _lacking(folder: Path, names: Sequence[str], chosen: Sequence[int]) -> str:
    there = set(folders(folder))
    lacking = [f"{names[index]} (class {index})" for index in chosen if names[index] not in there]
    more = f" and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
    return f"{folder.name}: {', '.join(lacking[:_MOST_NAMED])}{more}" if lacking else ""


DATASET = ImageNet()
