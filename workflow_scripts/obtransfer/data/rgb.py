"""Images of every mode as 8 bits of red, green and blue."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

_DEEPEST = 65535
_MAX_SAMPLE, _BITS, _PHOTOMETRIC = 281, 258, 262  # tags of TIFF
_WHITE_IS_ZERO = 0


def to_rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """The image in the mode RGB.

    Grey values of more than 8 bits are scaled from the range of their type, or from the range that a TIFF states, to
    0 … 255. Transparent pixels show the background. The trap: like timm, this reads neither EXIF's orientation nor ICC
    profiles, and of an animation the first frame.

    Args:
        image: of any mode; not changed.
        background: the name of the colour behind transparent pixels.

    Raises:
        ValueError: the range of the values is unknown (floating point, 32-bit integers), or Pillow does not convert the
            mode.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_deep_grey(image, background)
    if image.mode in ("I", "F"):
        kind = "floating-point numbers" if image.mode == "F" else "32-bit integers"
        raise ValueError(f"grey values are {kind}, whose range is unknown; save the image with 8 or 16 bits")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = Image.new("RGBA", image.size, background)
    layer.alpha_composite((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
    return layer.convert("RGB")


def _from_deep_grey(image: Image.Image, background: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    tags = getattr(image, "tag_v2", {})
    most = _largest(tags)
    light = most - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values
    grey = np.rint(light.clip(0, most) * (255 / most)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    if isinstance(key := image.info.get("transparency"), int):
        pixels[values == key] = ImageColor.getrgb(background)
    return Image.fromarray(pixels)


def _largest(tags: dict[int, object]) -> int:
    """The value of white: 65535, unless a TIFF states another one."""
    stated, bits = (
        value[0] if isinstance(value := tags.get(tag), tuple) else value for tag in (_MAX_SAMPLE, _BITS)
    )
    if isinstance(stated, int) and 0 < stated <= _DEEPEST:
        return stated
    return 2**bits - 1 if isinstance(bits, int) and 8 < bits <= 16 else _DEEPEST
