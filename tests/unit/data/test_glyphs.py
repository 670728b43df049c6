"""Glyph tasks: deterministic, balanced, disjoint splits; every glyph really is in its font."""

import hashlib

import numpy as np
import pytest
from obtransfer.data import fonts, glyphs
from obtransfer.data.rendering import Variation
from obtransfer.data.splits import SPLITS
from obtransfer.errors import ObtransferError

COUNTS = {"train": 3, "calibration": 2, "validation": 1, "test": 4}


def test_twelve_tasks_of_ten_different_glyphs() -> None:
    assert len(glyphs.CHARACTERS) == 12
    everything = "".join(glyphs.CHARACTERS.values())
    assert len(everything) == len(set(everything)) == 120
    assert set(glyphs.CHARACTERS) - set(glyphs.PRETRAINING_TASKS) == {"hebrew", "shapes"}


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    first, second, other = (glyphs.load("greek", seed=seed, images_per_class=COUNTS) for seed in (3, 3, 4))
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert not np.array_equal(first.pixels, other.pixels)


def test_more_images_leave_the_earlier_ones_as_they_are() -> None:
    few = glyphs.load("math", seed=0, images_per_class={"train": 2, "test": 1})
    many = glyphs.load("math", seed=0, images_per_class={"train": 40, "validation": 3, "test": 2})
    for split, count in (("train", 2), ("test", 1)):
        index = SPLITS.index(split)
        for label in range(10):
            of_few = few.pixels[(few.split == index) & (few.labels == label)]
            of_many = many.pixels[(many.split == index) & (many.labels == label)]
            np.testing.assert_array_equal(of_few, of_many[:count])


def test_shapes_types_and_balance() -> None:
    images = glyphs.load("shapes", seed=0, images_per_class=COUNTS)
    assert images.pixels.shape == (100, 32, 32, 3)
    assert (images.pixels.dtype, images.labels.dtype, images.split.dtype) == (np.uint8, np.int64, np.uint8)
    for index, name in enumerate(SPLITS):
        np.testing.assert_array_equal(np.bincount(images.labels[images.split == index]), [COUNTS[name]] * 10)
    assert images.classes[0] == "U+25A0 ■"


def test_no_image_is_in_two_splits_or_in_pretraining() -> None:
    images = glyphs.load("upper", seed=0, images_per_class={"train": 20, "calibration": 20, "test": 20})
    streams = [
        (glyphs.PRETRAINING_STREAM, 0, identity, rendering)
        for identity in range(10)
        for rendering in range(20)
    ]
    drawn = glyphs.render_glyphs(["A"] * 200, streams, Variation())
    digests = [hashlib.sha256(image.tobytes()).digest() for image in (*images.pixels, *drawn)]
    assert len(set(digests)) == len(digests)


def test_glyphs_are_light_on_dark() -> None:
    image = glyphs.load("shapes", seed=0, images_per_class={"train": 8})
    squares = image.pixels[image.labels == 0].astype(float)
    centre, border = squares[:, 12:20, 12:20].mean(), squares[:, [0, -1]].mean()
    assert centre > 150
    assert border < 90


@pytest.mark.parametrize("task", glyphs.CHARACTERS)
def test_every_glyph_has_fonts_that_contain_it_and_draw_it(task: str) -> None:
    for glyph in glyphs.CHARACTERS[task]:
        for font in fonts.fonts_with(glyph):
            assert ord(glyph) in fonts.characters(font)
            mask = fonts.glyph_mask(glyph, font)
            drawn = np.argwhere(mask > 0)
            extent = drawn.max(axis=0) - drawn.min(axis=0) + 1
            assert fonts.EXTENT - 2 <= extent.max() <= fonts.EXTENT + 2
            np.testing.assert_allclose(
                (drawn.max(axis=0) + drawn.min(axis=0)) / 2, (fonts.CANVAS - 1) / 2, atol=0.5
            )


def test_glyphs_of_one_font_are_drawn_differently() -> None:
    for task in glyphs.CHARACTERS.values():
        masks = {fonts.glyph_mask(glyph, fonts.fonts_with(glyph)[0]).tobytes() for glyph in task}
        assert len(masks) == 10


def test_font_without_the_glyph_is_not_used() -> None:
    assert "STIXGeneral" in fonts.fonts_with("A")
    assert "STIXGeneral" not in fonts.fonts_with("א")
    with pytest.raises(ObtransferError, match=r"U\+4E2D"):
        fonts.fonts_with("中")


def test_wrong_task_split_and_count_are_named() -> None:
    with pytest.raises(ObtransferError, match=r"upper, lower, .*got 'latin'"):
        glyphs.load("latin", seed=0, images_per_class=COUNTS)
    with pytest.raises(ObtransferError, match=r"unknown split 'val'.*test: -1.*validation"):
        glyphs.load("upper", seed=0, images_per_class={"val": 3, "test": -1})
