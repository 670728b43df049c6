"""Turns glyph masks into small coloured images, light on dark: warp, colours, smooth background, noise.

Numpy only. Every image comes from its own random stream by element-wise operations, so it does not depend on the other
images of the call.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from obtransfer.data.fonts import CANVAS

SIDE = 32  # pixels
_COARSE = 4  # control points a side of the elastic warp and of the background
_NUM_NORMALS = 2 * _COARSE * _COARSE
_NUM_UNIFORMS = 16 + 3 * _COARSE * _COARSE


@dataclass(frozen=True)
class Variation:
    """How much the renderings of one glyph differ; lengths in pixels of the image, intensities in [0, 1]."""

    rotation_degrees: float = 15.0
    shear: float = 0.2
    scale_low: float = 0.7
    scale_high: float = 1.05
    shift: float = 3.0
    elastic: float = 0.9
    background_high: float = 0.45
    foreground_low: float = 0.5
    noise_low: float = 0.02
    noise_high: float = 0.09


@dataclass(frozen=True)
class Draws:
    """Random numbers of N images, one row each: uniforms [N, U], normals [N, M], noise [N, SIDE, SIDE, 3]."""

    uniforms: np.ndarray
    normals: np.ndarray
    noise: np.ndarray


def draw(streams: Iterable[Sequence[int]]) -> Draws:
    """Random numbers of the images named by `streams`, each a tuple of non-negative integers."""
    uniforms, normals, noise = [], [], []
    for words in streams:
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(tuple(words))))
        uniforms.append(generator.random(_NUM_UNIFORMS, dtype=np.float32))
        normals.append(generator.standard_normal(_NUM_NORMALS, dtype=np.float32))
        noise.append(generator.standard_normal((SIDE, SIDE, 3), dtype=np.float32))
    return Draws(np.stack(uniforms), np.stack(normals), np.stack(noise))


def render(masks: np.ndarray, draws: Draws, variation: Variation) -> np.ndarray:
    """Images of N glyph masks.

    Args:
        masks: float32 [N, CANVAS, CANVAS], coverage in [0, 1].
        draws: random numbers of the N images.
        variation: the ranges that these numbers are mapped to.

    Returns:
        uint8 [N, SIDE, SIDE, 3].
    """
    rows, columns = _source_positions(draws, variation)
    coverage = _bilinear(masks, rows, columns)[..., None]
    foreground = _between(draws.uniforms[:, 8:11], variation.foreground_low, 1.0)[:, None, None, :]
    image = _background(draws, variation) * (1 - coverage) + foreground * coverage
    noise_level = _between(draws.uniforms[:, 11], variation.noise_low, variation.noise_high)
    image += draws.noise * noise_level[:, None, None, None]
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def _source_positions(draws: Draws, variation: Variation) -> tuple[np.ndarray, np.ndarray]:
    """Where in the mask every image pixel comes from: rows and columns, float32 [N, SIDE, SIDE] each.

    Inverse affine map (rotation, shear, two scales, shift) about the centre plus a smooth random displacement.
    """
    u = draws.uniforms
    angle = np.deg2rad(_between(u[:, 0], -variation.rotation_degrees, variation.rotation_degrees))
    shear = _between(u[:, 1], -variation.shear, variation.shear)
    scale_rows = _between(u[:, 2], variation.scale_low, variation.scale_high)
    scale_columns = _between(u[:, 3], variation.scale_low, variation.scale_high)
    shift = _between(u[:, 4:6], -variation.shift, variation.shift)
    axis = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
    y = axis[None, :, None] - shift[:, 0, None, None]
    x = axis[None, None, :] - shift[:, 1, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    rotated_rows = cos * y + sin * x
    rotated_columns = cos * x - sin * y + shear[:, None, None] * rotated_rows
    bend = _smooth(draws.normals.reshape(-1, 2, _COARSE, _COARSE)) * np.float32(variation.elastic)
    middle = np.float32((CANVAS - 1) / 2)
    rows = rotated_rows / scale_rows[:, None, None] + bend[:, 0] + middle
    columns = rotated_columns / scale_columns[:, None, None] + bend[:, 1] + middle
    return rows, columns


def _background(draws: Draws, variation: Variation) -> np.ndarray:
    """Smooth dark colours, float32 [N, SIDE, SIDE, 3]."""
    control = draws.uniforms[:, 16:].reshape(-1, 3, _COARSE, _COARSE)
    return np.moveaxis(_smooth(control * np.float32(variation.background_high)), 1, -1)


def _smooth(control: np.ndarray) -> np.ndarray:
    """Interpolates control points [..., _COARSE, _COARSE] to [..., SIDE, SIDE], smoothly (cosine weights)."""
    position = np.linspace(0, _COARSE - 1, SIDE)
    left = np.minimum(position.astype(int), _COARSE - 2)
    weight = ((1 - np.cos(np.pi * (position - left))) / 2).astype(np.float32)
    along_rows = control[..., left, :] * (1 - weight[:, None]) + control[..., left + 1, :] * weight[:, None]
    return along_rows[..., left] * (1 - weight) + along_rows[..., left + 1] * weight


def _bilinear(masks: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Samples masks [N, CANVAS, CANVAS] at positions [N, SIDE, SIDE]; outside the canvas there is no ink."""
    rows, columns = np.clip(rows, 0, CANVAS - 1.001), np.clip(columns, 0, CANVAS - 1.001)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    down, right = rows - top, columns - left
    flat = masks.reshape(-1)
    corner = top * CANVAS + left + (np.arange(len(masks), dtype=np.int32) * CANVAS * CANVAS)[:, None, None]
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + CANVAS] * (1 - right) + flat[corner + CANVAS + 1] * right
    return upper * (1 - down) + lower * down


def _between(uniform: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps numbers in [0, 1) to [low, high), float32."""
    return (np.float32(low) + uniform * np.float32(high - low)).astype(np.float32)
