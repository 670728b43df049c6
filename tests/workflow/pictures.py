"""Made-up photographs, and folders of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def photograph(*seed: int, size: tuple[int, int] = (60, 45), hue: float | None = None) -> Image.Image:
    """Blurred random colours with noise, as compression and smoothing meet them; `hue` in [0, 1) colours all of it."""
    chance = np.random.default_rng([size[0], *seed])
    coarse = chance.integers(0, 256, (5, 7, 3))
    if hue is not None:
        tone = 128 + 127 * np.cos(2 * np.pi * (hue + np.arange(3) / 3))
        coarse = (0.35 * coarse + 0.65 * tone).astype(int)
    smooth = np.asarray(Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC))
    noise = chance.integers(-20, 21, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def save(path: Path, *seed: int, size: tuple[int, int] = (60, 45), hue: float | None = None) -> None:
    """A photograph as a file, of the kind that its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photograph(*seed, size=size, hue=hue).save(path)


def fill_folder(
    root: Path,
    counts: Mapping[str, int],
    *,
    size: tuple[int, int] = (60, 45),
    ending: str = ".jpg",
    seed: int = 0,
) -> None:
    """``root/class/image_0.jpg`` and so on; classes differ in their hue."""
    for index, (name, count) in enumerate(counts.items()):
        for number in range(count):
            path = root / name / f"image_{number}{ending}"
            save(path, seed, index, number, size=size, hue=index / len(counts))
