"""From assigned images to stored pixels: on all threads, in bounded memory, without damaged or repeated images."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from obtransfer.data.assign_splits import ORDER, Assignment, Slot
from obtransfer.data.pool import ImagePool
from obtransfer.data.splits import SPLITS
from obtransfer.data.view import View, apply_view
from obtransfer.errors import ObtransferError

_WINDOW = 1024  # images handed to the threads at once
_MOST_NAMED = 10
_UNDECODABLE = (SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Decoding:
    """How images are decoded.

    Attributes:
        max_corrupt: the share of the images tried that may be undecodable.
        threads: that decode.
        scratch: a folder with room for the pixels.
    """

    max_corrupt: float
    threads: int
    scratch: Path


@dataclass
class Decoded:
    """Pixels uint8 [N, size, size, 3], read-only, of N slots; and the names of the images that were left out."""

    pixels: np.ndarray
    slots: list[Slot]
    corrupt: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


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
    found = Decoded(np.zeros(0, np.uint8), [])
    with tempfile.TemporaryFile(dir=how.scratch) as file:
        pending, tried = list(range(len(slots))), 0
        while pending:
            results = _decode(pools, slots, pending, view, file.fileno(), how.threads)
            outcomes: dict[int, bytes | str] = {}
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
        found.slots = [slot for slot in slots if slot is not None]
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
    threads: int,
) -> Iterator[tuple[int, bytes | str]]:
    """Each row, once its pixels are in the file, with the digest of its content; or with why it can't be decoded."""

    def work(row: int) -> tuple[int, bytes | str]:
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
            pixels = apply_view(pool.decode(slot.position, content), view)
        except OSError as error:
            if error.errno is not None:
                raise
            return row, str(error) or type(error).__name__
        except _UNDECODABLE as error:
            return row, f"{type(error).__name__}: {error}"
        _write(file, pixels.tobytes(), row * pixels.nbytes)
        return row, hashlib.sha256(content).digest()

    executor = ThreadPoolExecutor(threads)
    try:
        for start in range(0, len(rows), _WINDOW):
            yield from executor.map(work, rows[start : start + _WINDOW])
    finally:
        executor.shutdown(cancel_futures=True)


def _refused(
    pools: Sequence[ImagePool | None],
    slots: Sequence[Slot | None],
    outcomes: dict[int, bytes | str],
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
            found.corrupt.append(name)
            print(f"can't be decoded, left out: {name} ({outcome})", flush=True)
            refused.append(row)
        elif holders.setdefault(outcome, slot.split) != slot.split:
            found.repeated.append(name)
            print(
                f"the same as an image of the {SPLITS[holders[outcome]]} split, left out: {name}", flush=True
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


def _check(corrupt: Sequence[str], tried: int, allowed: float) -> None:
    if len(corrupt) > allowed * tried:
        more = f" and {len(corrupt) - _MOST_NAMED} more" if len(corrupt) > _MOST_NAMED else ""
        raise ObtransferError(
            f"{len(corrupt)} of {tried} images can't be decoded, {len(corrupt) / tried:.2%} where data.max_corrupt allows "
            f"{allowed:.2%}: {', '.join(corrupt[:_MOST_NAMED])}{more}; the log has the reasons; restore or remove them, or "
            "raise data.max_corrupt"
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
