"""Folders of images: where the splits come from, and what counts as an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obtransfer.data import on_disk
from obtransfer.data.decode import Decoding
from obtransfer.data.image_folder import DATASET
from obtransfer.data.splits import SPLITS
from obtransfer.errors import ObtransferError
from obtransfer.settings import DatasetEntry
from pictures import fill_folder, save

COUNTS: dict[str, Any] = {"train": 3, "calibration": 2, "validation": 1, "test": 2}


def load(root: Path, classes: Any = "all", **changes: Any) -> Any:
    dataset, how = DatasetEntry(kind="image_folder", root=str(root)), Decoding(0.01, 2, root.parent)
    settings = {"seed": 0, "images_per_class": COUNTS, "view": "32_crop875_bicubic", **changes}
    return on_disk.load("mine", dataset, classes, how, **settings)


def names(root: Path) -> list[tuple[list[str], list[str] | None]]:
    """Of every class, the images to train on and the official test images."""
    found = []
    for index in range(len(DATASET.classes(root))):
        train, test = DATASET.pools(root, [index])
        found.append((list(train.images), list(test.images) if test else None))
    return found


def test_one_folder_is_split_evenly_by_seed(tmp_path: Path) -> None:
    fill_folder(tmp_path, {"dog": 9, "cat": 8})
    images = load(tmp_path)
    assert images.classes == ("cat", "dog") and images.pixels.shape == (16, 32, 32, 3)
    assert (images.pixels.dtype, images.labels.dtype, images.split.dtype) == (np.uint8, np.int64, np.uint8)
    for index, split in enumerate(SPLITS):
        np.testing.assert_array_equal(np.bincount(images.labels[images.split == index]), [COUNTS[split]] * 2)
    assert len({image.tobytes() for image in images.pixels}) == 16
    np.testing.assert_array_equal(load(tmp_path).pixels, images.pixels)
    assert not np.array_equal(load(tmp_path, seed=1).pixels, images.pixels)


def test_train_and_val_are_taken_as_they_are(tmp_path: Path) -> None:
    fill_folder(tmp_path / "train", {"cat": 6, "dog": 6})
    fill_folder(tmp_path / "val", {"cat": 2, "dog": 3}, seed=1)
    assert DATASET.classes(tmp_path) == ("cat", "dog")
    (train, test), _ = names(tmp_path)
    assert len(train) == 6 and all(name.startswith("train/cat/") for name in train)
    assert test == ["val/cat/image_0.jpg", "val/cat/image_1.jpg"]
    images = load(tmp_path, images_per_class=COUNTS | {"test": "rest"})
    assert np.bincount(images.labels[images.split == 3]).tolist() == [2, 3]


def test_with_a_test_folder_val_joins_the_images_to_train_on(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        fill_folder(tmp_path / part, {"cat": 3, "dog": 3})
    (train, test), _ = names(tmp_path)
    assert {name.split("/")[0] for name in train} == {"train", "valid"} and len(train) == 6
    assert test is not None and {name.split("/")[0] for name in test} == {"test"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill_folder(tmp_path, {"bus": 2, "train": 2})
    assert DATASET.classes(tmp_path) == ("bus", "train")
    assert names(tmp_path)[1] == (["train/image_0.jpg", "train/image_1.jpg"], None)


def test_train_without_its_companion_is_told(tmp_path: Path) -> None:
    fill_folder(tmp_path / "train", {"cat": 2})
    with pytest.raises(
        ObtransferError, match=r"has a folder train with classes, but none of val, valid, validation, test"
    ):
        DATASET.classes(tmp_path)


def test_what_counts_as_an_image(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "deep/er/c.webp", "d.tif"):
        save(tmp_path / "cat" / name, 1)
    for name in ("._a.jpeg", "notes.txt", ".DS_Store"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    save(tmp_path / ".hidden" / "a.jpg", 2)
    save(tmp_path / "elsewhere.jpg", 3)
    (tmp_path / "dog").symlink_to(tmp_path / "cat", target_is_directory=True)
    assert DATASET.classes(tmp_path) == ("cat", "dog")
    assert names(tmp_path)[0][0] == ["cat/a.jpeg", "cat/b.PNG", "cat/d.tif", "cat/deep/er/c.webp"]
    assert len(names(tmp_path)[1][0]) == 4


def test_errors_begin_with_the_task_and_say_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(
        ObtransferError, match=rf"task mine: there is no folder {tmp_path}/gone, the root of a data set"
    ):
        load(tmp_path / "gone")
    with pytest.raises(ObtransferError, match=r"task mine: .* has no folders; needed one for every class"):
        load(tmp_path)
    fill_folder(tmp_path, {"cat": 9, "dog": 7})
    with pytest.raises(
        ObtransferError, match="task mine: some classes have too few images: 'dog' has 7 images of 8"
    ):
        load(tmp_path)
    with pytest.raises(
        ObtransferError, match="task mine: classes: no class is called 'dgo'; did you mean 'dog'"
    ):
        load(tmp_path, classes=["cat", "dgo"])


def test_relative_roots_begin_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    assert on_disk.root_of(DatasetEntry(kind="image_folder", root="images")) == tmp_path / "images"
