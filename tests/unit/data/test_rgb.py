"""Every mode of Pillow's becomes red, green and blue with the right values, or is refused by name."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obtransfer.data import on_disk
from obtransfer.data.decode import Decoding
from obtransfer.data.rgb import to_rgb
from obtransfer.errors import ObtransferError
from obtransfer.settings import DatasetEntry
from pictures import fill_folder
from PIL import Image

RAMP = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
AS_BYTES = [0, 1, 128, 255]


def reopened(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Image.open(io.BytesIO(stream.getvalue()))


def tiff(bits: int, data: bytes, width: int, **tags: int) -> Image.Image:
    """A TIFF of one row of grey values, written by hand: Pillow writes no 12 bits and no inverted values."""
    short, long = 3, 4
    entries = {
        256: (long, width), 257: (long, 1), 258: (short, bits), 259: (short, 1), 262: (short, tags.get("photometric", 1)),
        273: (long, 0), 277: (short, 1), 278: (long, 1), 279: (long, len(data)),
    }  # fmt: skip
    if "max_sample" in tags:
        entries[281] = (short, tags["max_sample"])
    offset = 8 + 2 + 12 * len(entries) + 4
    entries[273] = (long, offset)
    rows = b"".join(struct.pack("<HHLL", tag, kind, 1, value) for tag, (kind, value) in entries.items())
    header = b"II*\0" + struct.pack("<LH", 8, len(entries))
    return Image.open(io.BytesIO(header + rows + b"\0\0\0\0" + data))


def png(bits: int, kind: int, width: int, row: bytes, transparent: bytes = b"") -> Image.Image:
    """A PNG of one row, written by hand: Pillow writes no 16 bits of colour, and no alpha of 16 bits."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))
        )

    header = struct.pack(">LLBBBBB", width, 1, bits, kind, 0, 0, 0)
    middle = chunk(b"tRNS", transparent) if transparent else b""
    content = (
        chunk(b"IHDR", header) + middle + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + content))


def pack_12_bits(values: list[int]) -> bytes:
    number = 0
    for value in values:
        number = number << 12 | value
    return number.to_bytes(len(values) * 12 // 8, "big")


def greys(image: Image.Image, background: str = "white") -> list[int]:
    pixels = np.asarray(to_rgb(image, background))
    assert pixels.dtype == np.uint8 and pixels.shape == (image.height, image.width, 3)
    assert (pixels == pixels[..., :1]).all()
    return [int(value) for value in pixels[..., 0].ravel()]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey_are_scaled(kind: str) -> None:
    assert greys(reopened(Image.fromarray(RAMP), kind)) == AS_BYTES


def test_a_tiff_may_state_another_white() -> None:
    assert greys(tiff(12, pack_12_bits([0, 4095, 2048, 1024]), 4)) == [0, 255, 128, 64]
    twelve = np.array([0, 4095, 2048, 1024], "<u2").tobytes()
    assert greys(tiff(16, twelve, 4, max_sample=4095)) == [0, 255, 128, 64]
    assert greys(tiff(16, twelve, 4)) == [0, 16, 8, 4]


def test_a_tiff_may_have_white_at_zero() -> None:
    assert greys(tiff(16, RAMP.astype("<u2").tobytes(), 4, photometric=0)) == [255, 254, 127, 0]


def test_sixteen_bits_of_colour_keep_the_higher_eight() -> None:
    image = png(16, 2, 1, np.array([0, 32896, 65535], ">u2").tobytes())
    assert np.asarray(to_rgb(image)).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_known_range_are_refused_by_name(mode: str) -> None:
    image = reopened(Image.new(mode, (2, 2), 1), "TIFF")
    assert image.mode == mode
    with pytest.raises(ValueError, match="whose range is unknown; save the image with 8 or 16 bits"):
        to_rgb(image)


@pytest.mark.parametrize("background", ["white", "black"])
@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparent_pixels_show_the_background(mode: str, background: str) -> None:
    """Transparent, half transparent and opaque black."""
    plain = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 128], [0, 0, 0, 255]]], np.uint8))
    if mode == "PA":
        image = plain.convert("RGB").convert("P")
        image.putalpha(plain.getchannel("A"))
    else:
        image = plain.convert("LA").convert("La") if mode == "La" else plain.convert(mode)
    assert image.mode == mode
    assert greys(image, background) == ([255, 127, 0] if background == "white" else [0, 0, 0])


def test_a_transparent_colour_shows_the_background() -> None:
    grey = png(8, 0, 3, bytes([10, 20, 30]), struct.pack(">H", 20))
    assert greys(grey) == [10, 255, 30] and greys(grey, "black") == [10, 0, 30]
    deep = png(16, 0, 3, np.array([257, 514, 65535], ">u2").tobytes(), struct.pack(">H", 514))
    assert greys(deep) == [1, 255, 255] and greys(deep, "black") == [1, 0, 255]
    colour = png(8, 2, 2, bytes([1, 2, 3, 7, 8, 9]), struct.pack(">HHH", 1, 2, 3))
    assert np.asarray(to_rgb(colour)).tolist() == [[[255, 255, 255], [7, 8, 9]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    indexed = reopened(palette, "PNG", transparency=0)
    assert indexed.mode == "P"
    assert np.asarray(to_rgb(indexed)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_the_other_modes_are_converted_by_pillow(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), np.asarray(image.convert("RGB")))


def load(root: Path, background: str = "white") -> Any:
    counts = {"train": 1, "calibration": 1, "validation": 1, "test": 1}
    how = Decoding(0.0, 1, root.parent, background)
    dataset = DatasetEntry(kind="image_folder", root=str(root))
    return on_disk.load(
        "mine", dataset, "all", how, seed=0, images_per_class=counts, view="8_crop1000_bilinear"
    )


def test_the_background_of_a_task_is_that_of_the_configuration(tmp_path: Path) -> None:
    for name, value in (("a", 40), ("b", 90)):
        for number in range(4):
            pixels = np.zeros((8, 8, 4), np.uint8)
            pixels[:4] = [value, value, value + number, 255]
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    for background, value in (("white", 255), ("black", 0)):
        assert (load(tmp_path / "images", background).pixels[:, 4:] == value).all()


def test_an_image_without_a_known_range_names_the_reason(tmp_path: Path) -> None:
    fill_folder(tmp_path / "images", {"a": 4, "b": 4})
    Image.new("F", (8, 8)).save(tmp_path / "images" / "a" / "image_0.tif")
    (tmp_path / "images" / "a" / "image_0.jpg").unlink()
    with pytest.raises(ObtransferError, match=r"a/image_0\.tif; the first because: .*floating-point numbers"):
        load(tmp_path / "images")


def test_classes_of_one_colour_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill_folder(tmp_path / "images", {"a": 4})
    for number in range(4):
        dark = np.random.default_rng(number).integers(0, 4096, (8, 8), dtype=np.uint16)  # 12 bits in 16
        (tmp_path / "images" / "dark").mkdir(exist_ok=True)
        Image.fromarray(dark).save(tmp_path / "images" / "dark" / f"{number}.png")
    assert load(tmp_path / "images").notes["one_colour"] == ["dark"]
    assert "all images of these classes have one colour: dark" in capsys.readouterr().out
    for path in (tmp_path / "images" / "a").iterdir():
        Image.new("RGB", (8, 8), (9, 9, int(path.stem[-1]))).save(path)
    with pytest.raises(
        ObtransferError, match="task mine: needed images with something in them; got images of one"
    ):
        load(tmp_path / "images")


def test_images_with_an_orientation_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill_folder(tmp_path / "images", {"a": 4, "b": 4})
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "images" / "a" / "image_2.jpg"
    Image.open(path).save(path, exif=exif)
    assert load(tmp_path / "images").notes["turned"] == 1
    assert "1 images have an EXIF orientation; they are used as they are stored" in capsys.readouterr().out
