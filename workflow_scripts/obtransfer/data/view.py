"""What a backbone sees of an image: timm's evaluation transform, up to the uint8 pixels that are stored."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from obtransfer.data.rgb import to_rgb
from obtransfer.errors import ObtransferError

RENDERED = "32_crop1000_bilinear"
"""The view in which rendered tasks are made: as they are."""

_PATTERN = re.compile(r"([1-9][0-9]*)_crop([1-9][0-9]*)_(bilinear|bicubic|nearest|lanczos)")


@dataclass(frozen=True)
class View:
    """The short side is resized to `short_side` pixels, then a square of `size` pixels is cut out of the centre."""

    size: int
    short_side: int
    interpolation: str

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's name of the interpolation."""
        return Image.Resampling[self.interpolation.upper()]


def parse_view(text: str) -> View:
    """``224_crop875_bicubic``: 224 pixels, which are 875 thousandths of the resized short side (rounded down).

    Raises:
        ObtransferError: the text is no view.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ObtransferError(
            f"needed a view such as 224_crop875_bicubic (size, crop in thousandths, interpolation); got {text!r}"
        )
    size, crop = int(found[1]), int(found[2])
    return View(size, size * 1000 // crop, found[3])


def apply_view(image: Image.Image, view: View, background: str = "white") -> np.ndarray:
    """Resize the short side, then cut the centre out; what lies outside of a small image is black.

    Exactly what timm's `create_transform` of an evaluation does with an RGB image before it normalises (crop mode
    "center"): the long side is rounded down, and Pillow smooths when it reduces. The trap: like timm, this does not turn
    photographs the way their EXIF tag asks for.

    Args:
        image: of any size and mode (`to_rgb`); not changed.
        view: what to make of it.
        background: the name of the colour behind transparent pixels.

    Returns:
        uint8 [size, size, 3].
    """
    width, height = image.size
    short, long = min(width, height), max(width, height)
    other = view.short_side * long // short
    width, height = (view.short_side, other) if width <= height else (other, view.short_side)
    resized = to_rgb(image, background)
    if (width, height) != image.size:
        resized = resized.resize((width, height), view.resampling)
    left, top = _margin(width, view.size), _margin(height, view.size)
    return np.asarray(resized.crop((left, top, left + view.size, top + view.size)))


def apply_view_to_arrays(pixels: np.ndarray, view: View) -> np.ndarray:
    """`apply_view` for images [N, H, W, 3] in memory; the very same array where the view changes nothing."""
    side = pixels.shape[1]
    if pixels.shape[1:3] == (view.size, view.size) and view.short_side == side:
        return pixels
    return np.stack([apply_view(Image.fromarray(image), view) for image in pixels])


def _margin(length: int, size: int) -> int:
    """Where the centre begins: torchvision's rounding, which differs for images that are too small."""
    return round((length - size) / 2) if length >= size else -((size - length) // 2)
