"""Decoding: every image once, on all threads, without damaged or repeated ones, in bounded memory."""

from __future__ import annotations

import shutil
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from obtransfer.data import decode
from obtransfer.data.assign_splits import Assignment, Slot, assign_splits
from obtransfer.data.decode import Decoded, Decoding, decode_images
from obtransfer.data.image_folder import list_images
from obtransfer.data.pool import ImagePool
from obtransfer.data.splits import SPLITS
from obtransfer.data.view import apply_view, parse_view
from obtransfer.errors import ObtransferError
from pictures import fill_folder, save
from PIL import Image

VIEW = parse_view("32_crop875_bicubic")
NAMES = ("a", "b")
COUNTS = {"train": 4, "calibration": 2, "validation": 2, "test": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 14 images, where 11 are asked for."""
    fill_folder(tmp_path / "images", {"a": 14, "b": 14})
    return tmp_path / "images"


def pool_of(folder: Path) -> ImagePool:
    return list_images(folder, [folder], NAMES, [0, 1])


def dealt(folder: Path) -> tuple[ImagePool, Assignment]:
    images = pool_of(folder)
    return images, assign_splits((images, None), [0, 1], NAMES, COUNTS, seed=0)


def run(folder: Path, *, max_corrupt: float = 0.0, threads: int = 2) -> tuple[ImagePool, Decoded]:
    images, hand = dealt(folder)
    how = Decoding(max_corrupt, threads, folder.parent)
    return images, decode_images((images, None), hand, VIEW, how)


def path_of(folder: Path, split: str, label: int) -> Path:
    """The file of the first image of a split and class, as it is dealt."""
    images, hand = dealt(folder)
    slot = next(slot for slot in hand.slots if (SPLITS[slot.split], slot.label) == (split, label))
    return folder / images.name(slot.position)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_slot_has_its_own_image(folder: Path, threads: int) -> None:
    images, found = run(folder, threads=threads)
    assert found.pixels.shape == (22, 32, 32, 3) and not found.corrupt and not found.repeated
    for slot, pixels in zip(found.slots, found.pixels, strict=True):
        with Image.open(folder / images.name(slot.position)) as image:
            np.testing.assert_array_equal(pixels, apply_view(image, VIEW))
    assert sorted(path.name for path in folder.parent.iterdir()) == ["images"]  # nothing is left beside it


def test_as_many_threads_work_as_are_allotted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=20)
    first = threading.local()

    def meet(image: Image.Image, view: object, background: str) -> np.ndarray:
        if not hasattr(first, "met"):
            first.met = together.wait()  # goes on only once three threads are here
        return apply_view(image, VIEW)

    monkeypatch.setattr(decode, "apply_view", meet)
    assert len(run(folder, threads=3)[1].slots) == 22


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "png header"])
def test_a_damaged_image_is_named_and_replaced_by_one_that_was_not_dealt(folder: Path, damage: str) -> None:
    images, hand = dealt(folder)
    bad = path_of(folder, "test", 1)
    before = {slot.position for slot in hand.slots}
    content = bad.read_bytes()
    bad.write_bytes(
        {
            "empty": b"",
            "text": b"<html>",
            "cut": content[: len(content) // 2],
            "png header": b"\x89PNG\r\n\x1a\n" + b"x" * 99,
        }[damage]
    )
    _, found = run(folder, max_corrupt=0.05)
    assert list(found.corrupt) == [f"b/{bad.name}"] and len(found.slots) == 22
    new = {slot.position for slot in found.slots} - before
    assert len(new) == 1 and images.labels[new.pop()] == 1
    for slot, pixels in zip(found.slots, found.pixels, strict=True):
        with Image.open(folder / images.name(slot.position)) as image:
            np.testing.assert_array_equal(pixels, apply_view(image, VIEW))


def test_more_damaged_images_than_allowed_fail_by_name(folder: Path) -> None:
    for label in (0, 1):
        path_of(folder, "train", label).write_bytes(b"no image")
    with pytest.raises(ObtransferError) as caught:
        run(folder, max_corrupt=0.05)
    assert "2 of 22 images can't be decoded, 9.09% where data.max_corrupt allows 5.00%: a/" in str(
        caught.value
    )
    assert len(run(folder, max_corrupt=0.1)[1].corrupt) == 2


def test_where_no_image_is_left_there_is_one_less(folder: Path) -> None:
    images = pool_of(folder)
    hand = assign_splits((images, None), [0, 1], NAMES, COUNTS | {"train": 7}, seed=0)  # all 14
    first = folder / images.name(hand.slots[0].position)
    first.write_bytes(b"no image")
    found = decode_images((images, None), hand, VIEW, Decoding(0.1, 2, folder.parent))
    assert len(found.pixels) == len(found.slots) == 27
    for slot, pixels in zip(found.slots, found.pixels, strict=True):
        with Image.open(folder / images.name(slot.position)) as image:
            np.testing.assert_array_equal(pixels, apply_view(image, VIEW))


@pytest.mark.parametrize(
    "same", [shutil.copyfile, lambda source, target: (target.unlink(), target.symlink_to(source))]
)
def test_the_same_file_is_never_in_two_splits(folder: Path, same: object) -> None:
    assert callable(same)
    kept, dropped = path_of(folder, "test", 0), path_of(folder, "train", 0)
    same(kept, dropped)
    images, found = run(folder)
    assert found.repeated == [f"a/{dropped.name}"] and len(found.slots) == 22
    splits: dict[bytes, set[int]] = {}
    for slot in found.slots:
        splits.setdefault((folder / images.name(slot.position)).read_bytes(), set()).add(slot.split)
    assert all(len(having) == 1 for having in splits.values())
    assert SPLITS.index("test") in splits[kept.read_bytes()]


def test_a_repeated_image_in_another_class_is_found_too_and_one_in_the_same_split_stays(folder: Path) -> None:
    shutil.copyfile(path_of(folder, "validation", 0), path_of(folder, "calibration", 1))
    images, hand = dealt(folder)
    one, two = [slot for slot in hand.slots if SPLITS[slot.split] == "test"][:2]
    shutil.copyfile(folder / images.name(one.position), folder / images.name(two.position))
    _, found = run(folder)
    assert len(found.repeated) == 1 and found.repeated[0].startswith("b/")
    assert {one.position, two.position} <= {slot.position for slot in found.slots}


def test_a_file_that_cannot_be_read_is_no_damaged_image(folder: Path) -> None:
    images, hand = dealt(folder)
    missing = folder / images.name(hand.slots[3].position)
    missing.unlink()
    with pytest.raises(ObtransferError, match=rf"{missing} can't be read: No such file"):
        decode_images((images, None), hand, VIEW, Decoding(1.0, 2, folder.parent))


def test_pixels_in_memory_are_looked_at_alike(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for shape in ((30, 28, 28), (30, 28, 28, 3)):
        pixels = chance.integers(0, 256, shape, dtype=np.uint8)
        pixels[29] = pixels[0]
        images = ImagePool(pixels, np.zeros(30, np.int64))
        slots = [Slot(0, position, 0, split) for position, split in ((0, 3), (5, 1), (29, 0))]
        assignment = Assignment(slots, {(0, 0): [7]})
        found = decode_images((images, None), assignment, VIEW, Decoding(0, 2, tmp_path))
        assert [slot.position for slot in found.slots] == [0, 5, 7] and found.repeated == ["image 29"]
        for position, image in zip((0, 5, 7), found.pixels, strict=True):
            np.testing.assert_array_equal(image, apply_view(Image.fromarray(pixels[position]), VIEW))


def test_a_full_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(ObtransferError, match="no space left on the disk for the decoded images"):
        run(folder)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.jpg", 0)
    images = ImagePool(["a/0.jpg"] * 400, np.zeros(400, np.int64), tmp_path)
    view = parse_view("160_crop875_bicubic")
    peaks = []
    for count in (1, 40, 400):  # the first one imports what Pillow needs
        hand = Assignment([Slot(0, position, 0, 0) for position in range(count)])
        tracemalloc.start()
        try:
            found = decode_images((images, None), hand, view, Decoding(0, 2, tmp_path))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert found.pixels.nbytes == 400 * 160 * 160 * 3 > 30e6
    assert peaks[2] < peaks[1] + 2e6
