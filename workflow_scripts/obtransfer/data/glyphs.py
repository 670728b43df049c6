"""Glyphs: twelve tasks of ten characters each, rendered from the fonts inside matplotlib (DejaVu, STIX).

A small stand-in for the ten ImageNet tasks of the paper that needs no download. Ten of the tasks pre-train the small
backbones (`PRETRAINING_TASKS`); hebrew and shapes never do.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from obtransfer.data.fonts import fonts_with, glyph_mask
from obtransfer.data.rendering import Draws, Variation, draw, render
from obtransfer.data.splits import SPLITS, BuiltInTask, TaskImages, checked_counts
from obtransfer.data.view import RENDERED, apply_view_to_arrays, parse_view
from obtransfer.errors import ObtransferError

CHARACTERS: Mapping[str, str] = {
    "upper": "ABEGHKMRSW",
    "lower": "abdefghkqr",
    "digits": "0123456789",
    "greek": "ΓΔΘΛΞΠΣΦΨΩ",
    "cyrillic": "БДЖИЛЦЧЭЮЯ",
    "armenian": "ԱԲԴԵԺԽԾՃՇՋ",
    "georgian": "აბდმრღყწჭჰ",
    "arrows": "←↑→↓↔↗↘↩↻⇄",
    "math": "∀∃∇∈∝∫∞≈≠⊕",
    "symbols": "♯☺☻☼♀♂♠♣♥♫",
    "hebrew": "אבגהטלמעצש",
    "shapes": "■□▲△●○◆◇◐▣",
}
PRETRAINING_TASKS = tuple(name for name in CHARACTERS if name not in ("hebrew", "shapes"))

# First word of an image's random stream: no stream of a task's split is ever a stream of pre-training.
TASK_STREAM, PRETRAINING_STREAM = 0, 1
_CHUNK = 256  # images rendered at once


def load(task: str, *, seed: int, images_per_class: Mapping[str, int], view: str = RENDERED) -> TaskImages:
    """Render one task.

    Image i of a class and split comes from the random stream (0, seed, task, split, class, i): splits are disjoint by
    construction, and asking for more images changes none of the others. Each image draws its font, among those that
    contain the glyph.

    Args:
        task: name in `CHARACTERS`.
        seed: non-negative.
        images_per_class: images per class of each split.
        view: of the backbone; renderings have 32 pixels and are resized to it.

    Returns:
        Images ordered by split, class, index.

    Raises:
        ObtransferError: no such task, split or count.
    """
    if task not in CHARACTERS:
        raise ObtransferError(f"needed a glyph task among {', '.join(CHARACTERS)}; got {task!r}")
    counts = checked_counts(images_per_class)
    glyphs = CHARACTERS[task]
    keys = [
        (split, label, index)
        for split, name in enumerate(SPLITS)
        for label in range(len(glyphs))
        for index in range(counts[name])
    ]
    task_word = tuple(CHARACTERS).index(task)
    streams = [(TASK_STREAM, seed, task_word, *key) for key in keys]
    pixels = render_glyphs([glyphs[label] for _, label, _ in keys], streams, Variation())
    split_of, labels, _ = np.array(keys, dtype=np.int64).reshape(-1, 3).T
    classes = tuple(f"U+{ord(glyph):04X} {glyph}" for glyph in glyphs)
    pixels = apply_view_to_arrays(pixels, parse_view(view))
    return TaskImages(pixels, np.ascontiguousarray(labels), split_of.astype(np.uint8), classes)


def render_glyphs(
    glyphs: Sequence[str],
    streams: Sequence[Sequence[int]],
    variation: Variation,
    fonts: Sequence[str] | None = None,
) -> np.ndarray:
    """Render one image per glyph and stream.

    Args:
        glyphs: N characters.
        streams: N random streams, tuples of non-negative integers.
        variation: how much the renderings differ.
        fonts: N font names, or None: each is drawn by the image's stream.

    Returns:
        uint8 [N, 32, 32, 3].
    """
    parts = [np.zeros((0, 32, 32, 3), dtype=np.uint8)]
    for chunk in _chunks(len(glyphs)):
        draws = draw(streams[chunk])
        chosen = fonts[chunk] if fonts is not None else _drawn_fonts(glyphs[chunk], draws)
        masks = np.stack([glyph_mask(glyph, font) for glyph, font in zip(glyphs[chunk], chosen, strict=True)])
        parts.append(render(masks, draws, variation))
    return np.concatenate(parts)


def _drawn_fonts(glyphs: Sequence[str], draws: Draws) -> list[str]:
    """One font per glyph, among those that contain it, uniformly by the image's own stream."""
    choices = [fonts_with(glyph) for glyph in glyphs]
    return [fonts[int(u * len(fonts))] for fonts, u in zip(choices, draws.uniforms[:, 15], strict=True)]


def _chunks(total: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, total, _CHUNK))


TASK = {name: BuiltInTask(load, num_classes=len(characters)) for name, characters in CHARACTERS.items()}
