"""ImageNet's folder tree: the right classes, the right splits, and what is missing by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obtransfer.data import on_disk
from obtransfer.data.decode import Decoding
from obtransfer.data.imagenet import DATASET, wordnet_ids
from obtransfer.data.splits import SPLITS
from obtransfer.data.view import apply_view, parse_view
from obtransfer.errors import ObtransferError
from obtransfer.settings import DatasetEntry
from pictures import fill_folder
from PIL import Image

# Class index, WordNet id and name, from ImageNet's own mapping.
KNOWN = {
    0: "n01440764",
    1: "n01443537",
    107: "n01910747",
    207: "n02099601",
    933: "n07697313",
    959: "n07831146",
    999: "n15075141",
}
COUNTS: dict[str, Any] = {"train": 2, "calibration": 2, "validation": 1, "test": 3}
TASK = [959, 0, 933]
VIEW = "224_crop875_bicubic"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Train and val of the three classes of `TASK`, and of one that is not asked for."""
    for part, count, seed in (("train", 6, 0), ("val", 3, 1)):
        classes = {KNOWN[index]: count for index in (*TASK, 207)}
        fill_folder(tmp_path / part, classes, size=(250, 188), ending=".JPEG", seed=seed)
    return tmp_path


def load(root: Path, classes: Any = TASK, counts: dict[str, Any] = COUNTS) -> Any:
    dataset, how = DatasetEntry(kind="imagenet", root=str(root)), Decoding(0.01, 2, root)
    return on_disk.load("imagenet_0", dataset, classes, how, seed=0, images_per_class=counts, view=VIEW)


def test_classes_are_numbered_as_everywhere() -> None:
    ids = wordnet_ids()
    assert len(ids) == len(set(ids)) == 1000 and list(ids) == sorted(ids)
    assert {index: ids[index] for index in KNOWN} == KNOWN


@pytest.mark.slow
def test_timm_numbers_them_alike() -> None:
    from timm.data import ImageNetInfo

    assert tuple(ImageNetInfo().label_names()) == wordnet_ids()


def test_a_tree_of_only_the_wanted_classes_works(tree: Path) -> None:
    images = load(tree)
    assert images.classes == (KNOWN[959], KNOWN[0], KNOWN[933]) and images.pixels.shape == (24, 224, 224, 3)
    for index, split in enumerate(SPLITS):
        np.testing.assert_array_equal(np.bincount(images.labels[images.split == index]), [COUNTS[split]] * 3)
    # Test images are exactly those of val, of the right class; all others come from train.
    for label, name in enumerate(images.classes):
        for part, chosen in (("val", images.split == 3), ("train", images.split != 3)):
            files = (tree / part / name).iterdir()
            seen = {apply_view(Image.open(path), parse_view(VIEW)).tobytes() for path in files}
            found = {image.tobytes() for image in images.pixels[chosen & (images.labels == label)]}
            assert found <= seen and (part == "train" or found == seen)


def test_ids_serve_as_names(tree: Path) -> None:
    np.testing.assert_array_equal(load(tree, [KNOWN[0], 933]).pixels, load(tree, [0, 933]).pixels)
    with pytest.raises(ObtransferError, match="no class is called 'n01440765'; did you mean 'n01440764'"):
        load(tree, ["n01440765", 0])


def test_missing_classes_are_told_all_at_once(tree: Path) -> None:
    (tree / "val" / KNOWN[0]).rename(tree / "val" / "gone")
    with pytest.raises(ObtransferError) as caught:
        load(tree, [0, 1, 933])
    message = str(caught.value)
    assert "task imagenet_0: " in message
    assert "train: n01443537 (class 1); val: n01440764 (class 0), n01443537 (class 1)" in message


def test_too_few_images_are_told_with_their_number(tree: Path) -> None:
    next((tree / "val" / KNOWN[0]).iterdir()).unlink()
    with pytest.raises(ObtransferError, match="'n01440764' has 2 test images of 3"):
        load(tree)
    with pytest.raises(ObtransferError, match="'n07697313' has 6 train images of 7"):
        load(tree, [933, 959], COUNTS | {"train": 4})


def test_another_layout_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012_img_train").mkdir()
    with pytest.raises(
        ObtransferError,
        match=r"there is no folder .*/train \(.* has ILSVRC2012_img_train\); the root of ImageNet is",
    ):
        DATASET.pools(tmp_path, [0])
    fill_folder(tmp_path / "train", {KNOWN[0]: 1})
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    with pytest.raises(
        ObtransferError, match=r"/val has no folders; needed one for every class, named by its WordNet id"
    ):
        DATASET.pools(tmp_path, [0])
