"""From assigned images to stored pixels: on all threads, in bounded memory, without damaged or repeated images."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from obtransfer.data.assign_splits import ORDER, Assignment, Slot
from obtransfer.data.pool import ImagePool
from obtransfer.data.splits import SPLITS
from obtransfer.data.view import View, apply_view
from obtransfer.errors import ObtransferError

_WINDOW = 1024  # images handed to the threads at once
_ORIENTATION = 274  # the tag of EXIF
_ONE_COLOUR = (
    16  # of 255: the most that the pixels of one colour differ; 12-bit values in a file of 16 bits reach it
)
_MOST_NAMED = 10
_UNDECODABLE = (SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Decoding:
    """How images are decoded.

    Attributes:
        max_corrupt: the share of the images tried that may be undecodable.
        threads: that decode.
        scratch: a folder with room for the pixels.
        background: the name of the colour behind transparent pixels.
    """

    max_corrupt: float
    threads: int
    scratch: Path
    background: str = "white"


@dataclass
class Decoded:
    """Decoded images, and those that were left out.

    Attributes:
        pixels: uint8 [N, size, size, 3], read-only.
        slots: N.
        corrupt: names of images that can't be decoded, with the reasons.
        repeated: names of images whose content is in another split.
        one_colour: [N] whether an image has (nearly) one colour.
        turned: how many images have an EXIF orientation, which is not followed.
    """

    pixels: np.ndarray
    slots: list[Slot]
    corrupt: dict[str, str] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    one_colour: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    turned: int = 0


class _Seen(NamedTuple):
    """What is known of an image whose pixels are in the file. `content`: its digest."""

    content: bytes
    one_colour: bool
    turned: bool


def decode_images(
    pools: tuple[ImagePool, ImagePool | None],
    assignment: Assignment,
    view: View,
    how: Decoding,
    progress: Callable[..., None] | None = None,
) -> Decoded:
    """Decode every slot's image once.

    Pillow decodes and resizes without Python's lock (nine tenths of the time for photographs), so threads suffice, and
    work wherever a step runs. An image that can't be decoded, or whose bytes are already in another split, is replaced
    by the next unassigned image of its class, or left out where there is none. The splits are served in the order of
    `assign_splits.ORDER`, so a test image is never given up for a training image.

    Memory: `threads` images and 100 bytes a slot. The pixels go to a file without a name in `scratch`, and are mapped.

    Args:
        pools: that `assignment` was made from.
        assignment: its spares are used up.
        view: what to make of each image.
        how: threads, limits and folder.
        progress: called as ``progress(done, total=...)``.

    Raises:
        ObtransferError: too many images can't be decoded (names them), a file can't be read, or the disk is full.
    """
    slots: list[Slot | None] = list(assignment.slots)
    holders: dict[bytes, int] = {}
    seen: dict[int, _Seen] = {}
    found = Decoded(np.zeros(0, np.uint8), [])
    with tempfile.TemporaryFile(dir=how.scratch) as file:
        pending, tried = list(range(len(slots))), 0
        while pending:
            results = _decode(pools, slots, pending, view, file.fileno(), how)
            outcomes: dict[int, _Seen | str] = {}
            for row, outcome in results:
                outcomes[row] = outcome
                tried += 1
                if progress is not None:
                    progress(tried, total=max(tried, len(slots)))
            refused = _refused(pools, slots, outcomes, holders, found)
            _check(found.corrupt, tried, how.max_corrupt)
            pending = []
            for row in refused:
                slots[row] = _replacement(slots[row], assignment)
                pending += [row] if slots[row] is not None else []
            seen |= {row: outcome for row, outcome in outcomes.items() if isinstance(outcome, _Seen)}
        kept = [row for row, slot in enumerate(slots) if slot is not None]
        found.slots = [_there(slots[row]) for row in kept]
        found.one_colour = np.array([seen[row].one_colour for row in kept], dtype=bool)
        found.turned = sum(seen[row].turned for row in kept)
        shape = (view.size, view.size, 3)
        _close_gaps(file.fileno(), [slot is not None for slot in slots], int(np.prod(shape)))
        found.pixels = np.memmap(file, np.uint8, mode="r", shape=(len(found.slots), *shape))
    return found


def _decode(
    pools: Sequence[ImagePool | None],
    slots: Sequence[Slot | None],
    rows: Sequence[int],
    view: View,
    file: int,
    how: Decoding,
) -> Iterator[tuple[int, _Seen | str]]:
    """Each row, once its pixels are in the file, with what was seen; or with why it can't be decoded."""

    def work(row: int) -> tuple[int, _Seen | str]:
        slot = slots[row]
        pool = pools[slot.pool] if slot else None
        assert slot is not None and pool is not None
        try:
            content = pool.content(slot.position)
        except OSError as error:
            raise ObtransferError(
                f"{pool.root / pool.name(slot.position)} can't be read: {error.strerror}"
            ) from error
        try:
            image = pool.decode(slot.position, content)
            pixels = apply_view(image, view, how.background)
            turned = image.getexif().get(_ORIENTATION, 1) != 1
        except OSError as error:
            if error.errno is not None:
                raise
            return row, str(error) or type(error).__name__
        except _UNDECODABLE as error:
            return row, f"{type(error).__name__}: {error}"
        _write(file, pixels.tobytes(), row * pixels.nbytes)
        one_colour = int(np.ptp(pixels, axis=(0, 1)).max()) <= _ONE_COLOUR
        return row, _Seen(hashlib.sha256(content).digest(), one_colour, turned)

    executor = ThreadPoolExecutor(how.threads)
    try:
        for start in range(0, len(rows), _WINDOW):
            yield from executor.map(work, rows[start : start + _WINDOW])
    finally:
        executor.shutdown(cancel_futures=True)


def _refused(
    pools: Sequence[ImagePool | None],
    slots: Sequence[Slot | None],
    outcomes: dict[int, _Seen | str],
    holders: dict[bytes, int],
    found: Decoded,
) -> list[int]:
    """Rows that can't be kept. Adds to `holders` which split has which content, and to `found` the names."""
    rank = {SPLITS.index(split): place for place, split in enumerate(ORDER)}
    refused = []
    for row in sorted(outcomes, key=lambda row: (rank[_there(slots[row]).split], row)):
        outcome, slot = outcomes[row], _there(slots[row])
        pool = pools[slot.pool]
        assert pool is not None
        name = pool.name(slot.position)
        if isinstance(outcome, str):
            found.corrupt[name] = outcome
            print(f"can't be decoded, left out: {name} ({outcome})", flush=True)
            refused.append(row)
        elif holders.setdefault(outcome.content, slot.split) != slot.split:
            found.repeated.append(name)
            print(
                f"the same as an image of the {SPLITS[holders[outcome.content]]} split, left out: {name}",
                flush=True,
            )
            refused.append(row)
    return refused


def _there(slot: Slot | None) -> Slot:
    assert slot is not None
    return slot


def _replacement(slot: Slot | None, assignment: Assignment) -> Slot | None:
    """The next image of the same class and pool, for the same split."""
    old = _there(slot)
    spares = assignment.spares.get((old.pool, old.label), [])
    return Slot(old.pool, spares.pop(0), old.label, old.split) if spares else None


def _check(corrupt: Mapping[str, str], tried: int, allowed: float) -> None:
    if len(corrupt) > allowed * tried:
        names = list(corrupt)
        more = f" and {len(corrupt) - _MOST_NAMED} more" if len(corrupt) > _MOST_NAMED else ""
        raise ObtransferError(
            f"{len(corrupt)} of {tried} images can't be decoded, {len(corrupt) / tried:.2%} where data.max_corrupt allows "
            f"{allowed:.2%}: {', '.join(names[:_MOST_NAMED])}{more}; the first because: {corrupt[names[0]]}; restore or "
            "remove them, or raise data.max_corrupt"
        )


def _close_gaps(file: int, kept: Iterable[bool], size: int) -> None:
    """Move rows to the front, over those that are not kept."""
    target = 0
    for row, keep in enumerate(kept):
        if keep and target < row:
            _write(file, os.pread(file, size, row * size), target * size)
        target += keep
    os.ftruncate(file, target * size)


def _write(file: int, data: bytes, offset: int) -> None:
    try:
        while data:
            written = os.pwrite(file, data, offset)
            data, offset = data[written:], offset + written
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ObtransferError(
            "no space left on the disk for the decoded images; free some and run again"
        ) from error
