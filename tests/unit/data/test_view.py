"""What a backbone sees of an image is what timm shows it, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from obtransfer.data import digits, glyphs
from obtransfer.data.rendering import Variation
from obtransfer.data.view import RENDERED, View, apply_view, parse_view
from obtransfer.errors import ObtransferError
from obtransfer.models import published
from PIL import Image

SIZES = [(500, 375), (375, 500), (224, 224), (1023, 682), (97, 130), (256, 256), (31, 640), (2, 3)]
VIEWS = [
    "224_crop875_bicubic",
    "224_crop900_bicubic",
    "224_crop950_bilinear",
    "299_crop897_bicubic",
    "224_crop1000_lanczos",
    "32_crop1000_bilinear",
    "96_crop875_nearest",
    "224_crop1150_bicubic",  # the image is smaller than the crop: black margins
]


def photograph(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Random colours with some structure, as compression and smoothing meet them."""
    chance = np.random.default_rng(size)
    coarse = Image.fromarray(chance.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(int)
    noise = chance.integers(-30, 31, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.slow  # importing timm
@pytest.mark.parametrize("text", VIEWS)
def test_pixels_are_those_of_timms_evaluation_transform(text: str) -> None:
    from timm.data import create_transform

    view = parse_view(text)
    transform = create_transform(
        (3, view.size, view.size),
        interpolation=view.interpolation,
        crop_pct=int(text.split("_")[1].removeprefix("crop")) / 1000,
        normalize=False,
    )
    for size in SIZES:
        image = photograph(size)
        expected = transform(image).numpy().transpose(1, 2, 0)
        found = apply_view(image, view)
        assert found.dtype == np.uint8 and found.shape == (view.size, view.size, 3)
        np.testing.assert_array_equal(found, expected, err_msg=str(size))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resnet50.tv_in1k",
        "vit_base_patch16_224.augreg_in1k",
        "vit_small_patch16_224.dino",
        "inception_resnet_v2.tf_in1k",
    ],
)
def test_the_view_of_a_backbone_is_the_transform_of_its_own_configuration(name: str) -> None:
    import timm
    from timm.data import create_transform, resolve_data_config

    settings = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    transform = create_transform(**settings, normalize=False)
    image = photograph((500, 375))
    expected = transform(image).numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(apply_view(image, parse_view(published.view({}, name))), expected)


def test_every_view_of_timms_weights_resizes_as_timm_does() -> None:
    table = published.timm_table()
    seen: dict[int, str] = {}
    for model, entry in table["architectures"].items():
        for tag, pixels in entry["tags"].items():
            seen.setdefault(pixels, f"{model}.{tag}")
    for pixels, name in seen.items():
        size, crop = table["pixels"][pixels][:2]
        view = parse_view(published.view({}, name))
        assert (view.size, view.short_side) == (size, math.floor(size / crop)), name


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "1"])
def test_images_of_other_modes_become_rgb_first(mode: str) -> None:
    image = photograph((90, 60), mode)
    view = parse_view("32_crop875_bicubic")
    np.testing.assert_array_equal(apply_view(image, view), apply_view(image.convert("RGB"), view))


def test_a_view_says_what_it_means() -> None:
    assert parse_view("224_crop875_bicubic") == View(224, 256, "bicubic")
    assert parse_view("224_crop900_bicubic").short_side == 248  # rounded down, as timm does
    for text in (
        "224",
        "224_crop0.875_bicubic",
        "0_crop875_bicubic",
        "224_crop875_cubic",
        "224_crop875_bicubic/x",
    ):
        with pytest.raises(ObtransferError, match="needed a view such as"):
            parse_view(text)


@pytest.mark.parametrize("view", [RENDERED, "32_crop1000_bicubic"])
def test_rendered_tasks_at_their_own_size_are_the_renderings_themselves(view: str) -> None:
    images = glyphs.load("shapes", seed=3, images_per_class={"train": 2, "test": 1}, view=view)
    keys = [(0, label, index) for label in range(10) for index in range(2)] + [
        (3, label, 0) for label in range(10)
    ]
    streams = [(glyphs.TASK_STREAM, 3, list(glyphs.CHARACTERS).index("shapes"), *key) for key in keys]
    drawn = glyphs.render_glyphs(
        [glyphs.CHARACTERS["shapes"][label] for _, label, _ in keys], streams, Variation()
    )
    np.testing.assert_array_equal(images.pixels, drawn)
    enlarged = {image.tobytes() for image in digits._enlarge(digits._unique_digits()[0])}
    written = digits.load("handwritten", seed=3, images_per_class={"train": 2}, view=view)
    assert {image.tobytes() for image in written.pixels} <= enlarged


def test_rendered_tasks_are_resized_for_larger_backbones() -> None:
    small = glyphs.load("upper", seed=0, images_per_class={"train": 2, "test": 1})
    large = glyphs.load("upper", seed=0, images_per_class={"train": 2, "test": 1}, view="64_crop875_bicubic")
    assert large.pixels.shape == (30, 64, 64, 3)
    np.testing.assert_array_equal(large.labels, small.labels)
    for before, after in zip(small.pixels[:3], large.pixels[:3], strict=True):
        np.testing.assert_array_equal(
            after, apply_view(Image.fromarray(before), parse_view("64_crop875_bicubic"))
        )
