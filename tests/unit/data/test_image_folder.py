"""Folders of images: where the splits come from, and what counts as an image."""

from __future__ import annotations

import os
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
from PIL import Image

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


def test_links_to_folders_are_followed_once_and_never_in_a_loop(tmp_path: Path) -> None:
    root = tmp_path / "images"
    fill_folder(root, {"cat": 3, "dog": 2})
    fill_folder(tmp_path, {"elsewhere": 4})
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "cat" / "again").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(root / "cat", target_is_directory=True)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (cat, _), (dog, _) = names(root)
    assert cat == sorted(
        [f"cat/again/image_{n}.jpg" for n in range(4)] + [f"cat/image_{n}.jpg" for n in range(3)]
    )
    assert len(dog) == 2
    assert DATASET.pools(root, [0])[0].left_out == {"links to folders that are listed already": 3}


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_folder(tmp_path, {"cat": 3, "dog": 2, "dog/deeper": 2})
    scandir = os.scandir

    def denied(path: Any) -> Any:  # as root, everything can be read
        if str(path).endswith("deeper"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("obtransfer.data.listing.os.scandir", denied)
    with pytest.raises(ObtransferError, match=r"task mine: .*dog/deeper can't be read: Permission denied"):
        load(tmp_path)


def test_what_is_left_out_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the log, in the notes, and where too few are left."""
    fill_folder(tmp_path, {"cat": 8, "dog": 8})
    for name in (
        "cat/.ipynb_checkpoints/a.jpg",
        "dog/@eaDir/a.jpg/thumb.jpg",
        "dog/@eaDir/b.jpg",
        "beside.jpg",
    ):
        save(tmp_path / name, 9)
    save(tmp_path / "@eaDir" / "c.jpg", 9)
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/notes.txt", "dog/.DS_Store", "dog/README"):
        (tmp_path / name).write_bytes(b"x")
    expected = {
        "images outside the folders of classes": 1,
        "files in folders called .ipynb_checkpoints": 1,
        "files that end in .heic": 2,
        "files in folders called @eaDir": 2,
        "hidden files": 1,
        "files that end in .txt": 1,
        "files without an ending": 1,
    }
    images = load(tmp_path)
    assert images.classes == ("cat", "dog") and images.notes["left_out"] == expected
    log = capsys.readouterr().out
    assert all(f"{count} {reason}" in log for reason, count in expected.items())
    with pytest.raises(ObtransferError, match=r"too few images: .*; left out: 2 files .*1 hidden files"):
        load(tmp_path, images_per_class=COUNTS | {"train": 4})


@pytest.mark.parametrize("ending", [".jfif", ".gif", ".JPE"])
def test_other_names_of_images(tmp_path: Path, ending: str) -> None:
    fill_folder(tmp_path, {"cat": 8, "dog": 8})
    for path in tmp_path.rglob("*.jpg"):
        if ending == ".gif":
            frames = [Image.open(path), Image.new("RGB", (60, 45))]
            frames[0].save(path.with_suffix(ending), save_all=True, append_images=frames[1:])
        else:
            path.rename(path.with_suffix(ending))
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    images = load(tmp_path)
    assert len(images.pixels) == 16 and images.notes["one_colour"] == []  # of an animation, the first frame


def test_a_class_that_exists_only_in_val_is_an_error(tmp_path: Path) -> None:
    fill_folder(tmp_path / "train", {"cat": 6, "dog": 6})
    fill_folder(tmp_path / "val", {"cat": 2, "dog": 2, "emu": 2}, seed=1)
    assert DATASET.classes(tmp_path) == ("cat", "dog", "emu")
    with pytest.raises(
        ObtransferError, match="task mine: some classes have too few images: 'emu' has 0 train images"
    ):
        load(tmp_path)
    assert load(tmp_path, classes=["cat", "dog"]).classes == ("cat", "dog")


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
