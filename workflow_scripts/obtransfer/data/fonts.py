"""Glyph masks from the fonts that ship inside matplotlib."""

from functools import cache
from pathlib import Path

import numpy as np

from obtransfer.errors import ObtransferError

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
)
CANVAS = 40  # pixels a side of a mask
EXTENT = 26  # pixels of the longer side of the glyph inside it
_MEASURED_AT = 200  # points; the size at which a glyph's extent is measured


def font_path(font: str) -> Path:
    """Path of one of matplotlib's own font files."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"


@cache
def characters(font: str) -> frozenset[int]:
    """Code points that the font's character map contains."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_path(font))).get_charmap())


@cache
def fonts_with(glyph: str) -> tuple[str, ...]:
    """Fonts of `FONTS`, in that order, that contain the glyph.

    A font without it would draw its box for missing glyphs, the same for every class.

    Raises:
        ObtransferError: no font contains the glyph.
    """
    found = tuple(font for font in FONTS if ord(glyph) in characters(font))
    if not found:
        raise ObtransferError(
            f"glyph {glyph!r} (U+{ord(glyph):04X}) is in none of the {len(FONTS)} fonts used; "
            "choose another glyph, or add a font that matplotlib ships to obtransfer.data.fonts.FONTS"
        )
    return found


@cache
def glyph_mask(glyph: str, font: str) -> np.ndarray:
    """One glyph of one font, centred on a square canvas.

    The longer side of the drawn part is `EXTENT` pixels, so size does not give the class away. Not hinted.

    Args:
        glyph: one character that the font contains (`fonts_with`).
        font: name in `FONTS`.

    Returns:
        float32 [CANVAS, CANVAS] coverage in [0, 1]; read-only.
    """
    measured = _bitmap(glyph, font, float(_MEASURED_AT))
    bitmap = _bitmap(glyph, font, _MEASURED_AT * EXTENT / max(measured.shape))[:CANVAS, :CANVAS]
    mask = np.zeros((CANVAS, CANVAS), dtype=np.float32)
    top, left = (CANVAS - bitmap.shape[0]) // 2, (CANVAS - bitmap.shape[1]) // 2
    mask[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap / np.float32(255)
    mask.setflags(write=False)
    return mask


def _bitmap(glyph: str, font: str, points: float) -> np.ndarray:
    """Drawn part of the glyph, uint8 [height, width], without empty borders."""
    from matplotlib.ft2font import FT2Font, LoadFlags

    face = FT2Font(str(font_path(font)))
    face.set_size(points, 72)
    face.set_text(glyph, 0.0, flags=LoadFlags.NO_HINTING)
    face.draw_glyphs_to_bitmap(antialiased=True)
    image = np.asarray(face.get_image(), dtype=np.uint8)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if rows.size == 0:
        raise ObtransferError(
            f"font {font} maps {glyph!r} (U+{ord(glyph):04X}) but draws nothing; choose another glyph"
        )
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
