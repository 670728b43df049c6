"""The images of pre-training: many renderings of every glyph in every font that contains it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from obtransfer.artifacts import atomic_path
from obtransfer.data.fonts import fonts_with
from obtransfer.data.glyphs import CHARACTERS, PRETRAINING_STREAM, PRETRAINING_TASKS, render_glyphs
from obtransfer.data.rendering import Variation
from obtransfer.runtime.progress import bar


@dataclass(frozen=True)
class GlyphPool:
    """Renderings of I identities (a glyph in a font), R each.

    Attributes:
        pixels: uint8 [I, R, 32, 32, 3].
        labels: int64 [I], class 0…99 of the identity: ten tasks of ten glyphs.
    """

    pixels: np.ndarray
    labels: np.ndarray


def identities() -> list[tuple[str, str, int]]:
    """(glyph, font, class) of everything that pre-training sees; hebrew and shapes are held out."""
    glyphs = [glyph for task in PRETRAINING_TASKS for glyph in CHARACTERS[task]]
    return [(glyph, font, label) for label, glyph in enumerate(glyphs) for font in fonts_with(glyph)]


def make_pool(folder: Path, *, seed: int, renderings: int) -> GlyphPool:
    """Render the pool into a file under `folder`, or map the file if it exists.

    The random streams, (1, seed, identity, rendering), differ from those of a task's splits, which start with 0.
    About 4 000 images per CPU-second; 3 kB of disk each.

    Args:
        folder: where the file goes; its name is a digest of its content.
        seed: non-negative.
        renderings: images per identity.
    """
    members = identities()
    labels = np.array([label for _, _, label in members], dtype=np.int64)
    content = json.dumps([seed, renderings, members, asdict(Variation())])
    path = folder / f"pool-{hashlib.sha256(content.encode()).hexdigest()[:12]}.npy"
    if not path.is_file():
        with atomic_path(path) as partial, bar(len(members), "images") as show:
            shape = (len(members), renderings, 32, 32, 3)
            pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
            for i, (glyph, font, _) in enumerate(members):
                streams = [(PRETRAINING_STREAM, seed, i, j) for j in range(renderings)]
                pixels[i] = render_glyphs([glyph] * renderings, streams, Variation(), [font] * renderings)
                show(i + 1)
            pixels.flush()
            del pixels
    return GlyphPool(np.load(path, mmap_mode="r"), labels)


def sample(
    pool: GlyphPool, *, batch_size: int, num_views: int, by_class: bool, generator: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw identities, and `num_views` different renderings of each.

    Args:
        pool: the renderings.
        batch_size: B identities, with replacement.
        num_views: renderings of each.
        by_class: classes are drawn uniformly, then an identity of the class; otherwise identities uniformly.
        generator: advanced.

    Returns:
        `num_views` arrays uint8 [B, 32, 32, 3], and the labels int64 [B].
    """
    count, renderings = pool.pixels.shape[:2]
    if by_class:
        first = np.searchsorted(pool.labels, np.arange(pool.labels[-1] + 2))
        label = generator.integers(len(first) - 1, size=batch_size)
        chosen = first[label] + (generator.random(batch_size) * (first[label + 1] - first[label])).astype(
            np.int64
        )
    else:
        chosen = generator.integers(count, size=batch_size)
    start = generator.integers(renderings, size=batch_size)
    steps = np.argsort(generator.random((batch_size, renderings - 1)), axis=1)[:, : num_views - 1] + 1
    offsets = np.concatenate([np.zeros((batch_size, 1), dtype=np.int64), steps], axis=1)
    views = [pool.pixels[chosen, (start + offsets[:, view]) % renderings] for view in range(num_views)]
    return views, pool.labels[chosen]
