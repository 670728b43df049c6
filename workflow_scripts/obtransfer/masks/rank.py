"""The score of a given rank among many, exactly, in linear time and little memory.

Written by hand because `torch.kthvalue` takes 2 to 5 times as long and 12 to 15 times the memory (``benchmarks/selection.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

CHUNK = 2**17
"""Scores read at a time: 1 MiB of them, which stays in the cache."""
GATHERED = 8
"""At most one score in this many is copied."""
SMALL = 2**15
"""This many scores are copied without a histogram, which would not be faster."""
SAMPLE = 2**12
"""The size of the sample that shows whether many scores are equal."""
_BINS = 2**16
"""A digit is 16 bits of a number."""


def nth_lowest(layers: Sequence[np.ndarray], kind: np.dtype, rank: int) -> tuple[np.floating, int]:
    """The score of this rank, and how many scores are lower.

    A radix histogram over the bits of the floating-point numbers. Read as integers, the bits have the order of the
    numbers, reversed below zero. The leading 16 bits of all scores are counted first, then the next 16 bits of those
    in the bin of the rank, until few scores are left; these are copied and partitioned. If a sample shows many equal
    scores at the rank, they are counted at once. -0.0 equals 0.0.
    Cost: two reads of the scores, and two more for each further digit (three at most), which is needed only if more
    than an eighth of the scores agree in all digits so far. Memory: an eighth of the scores at most.

    Args:
        layers: arrays of any shapes, not all empty, without NaN; not changed.
        kind: float32 or float64, which holds all of them exactly.
        rank: 0 for the lowest, to P - 1.
    """
    below, prefix, left = 0, list[int](), sum(layer.size for layer in layers)
    most = max(SMALL, left // GATHERED)
    sample = np.concatenate([chunk[:: left // SAMPLE + 1] for _, chunk in chunks(layers, kind)])
    ascending = np.arange(_BINS)
    order = np.concatenate([ascending[: _BINS // 2 - 1 : -1], ascending[: _BINS // 2]])
    while left > most and len(prefix) < _digits(kind):
        guess = _tied(sample[_matches(sample, prefix)], (rank - below) / left)
        if guess is not None:
            lower, not_higher = _count_lower(layers, kind, guess)
            if lower <= rank < not_higher:
                return guess, lower
        counts = _count_digits(layers, kind, prefix)
        ends = counts[order].cumsum()
        place = int(ends.searchsorted(rank - below, side="right"))
        below += int(ends[place - 1]) if place else 0
        prefix.append(int(order[place]))
        left = int(counts[prefix[-1]])
        order = ascending if prefix[0] < _BINS // 2 else ascending[::-1]  # of what is negative
    if len(prefix) == _digits(kind):
        found = _join(prefix, kind)
    else:
        values = _gather(layers, kind, prefix, left)
        values.partition(rank - below)
        found = values[rank - below]
        below += int(np.count_nonzero(values < found))
    # In the order of the bits, -0.0 is below 0.0.
    return found, _count_lower(layers, kind, found)[0] if found == 0 else below


def chunks(layers: Sequence[np.ndarray], kind: np.dtype) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Yield (layer, first index) and flat parts of the layers, in row-major order."""
    for number, layer in enumerate(layers):
        flat = layer.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            yield (number, start), np.ascontiguousarray(flat[start : start + CHUNK], dtype=kind)


def _tied(sample: np.ndarray, share: float) -> np.floating | None:
    """The number at this fraction of the sample's order, if it occurs more than once."""
    if not sample.size:
        return None
    value = np.sort(sample)[min(int(share * sample.size), sample.size - 1)]
    return value if np.count_nonzero(sample == value) > 1 else None


def _count_lower(layers: Sequence[np.ndarray], kind: np.dtype, value: np.floating) -> tuple[int, int]:
    """How many scores are lower, and how many are not higher."""
    lower, not_higher = 0, 0
    for _, chunk in chunks(layers, kind):
        lower += int(np.count_nonzero(chunk < value))
        not_higher += int(np.count_nonzero(chunk <= value))
    return lower, not_higher


def _count_digits(layers: Sequence[np.ndarray], kind: np.dtype, prefix: Sequence[int]) -> np.ndarray:
    """[65536] how often each value of the next digit occurs among the numbers with this prefix."""
    counts = np.zeros(_BINS, dtype=np.int64)
    for _, chunk in chunks(layers, kind):
        digits = _digit(chunk, len(prefix))
        counts += np.bincount(digits[_matches(chunk, prefix)] if prefix else digits, minlength=_BINS)
    return counts


def _gather(layers: Sequence[np.ndarray], kind: np.dtype, prefix: Sequence[int], count: int) -> np.ndarray:
    """[count] the numbers with this prefix."""
    values, filled = np.empty(count, dtype=kind), 0
    for _, chunk in chunks(layers, kind):
        matching = chunk[_matches(chunk, prefix)]
        values[filled : filled + matching.size] = matching
        filled += matching.size
    return values


def _matches(chunk: np.ndarray, prefix: Sequence[int]) -> np.ndarray:
    """[n] bool: which numbers have these leading digits."""
    matches = np.ones(chunk.size, dtype=bool)
    for level, digit in enumerate(prefix):
        matches &= _digit(chunk, level) == digit
    return matches


def _digits(kind: np.dtype) -> int:
    return kind.itemsize // 2


def _digit(chunk: np.ndarray, level: int) -> np.ndarray:
    """[n] uint16, the digit of this level of every number; level 0 leads, with sign and exponent."""
    count = _digits(chunk.dtype)
    return chunk.view(np.uint16)[count - 1 - level if sys.byteorder == "little" else level :: count]


def _join(prefix: Sequence[int], kind: np.dtype) -> np.floating:
    """The number with these digits."""
    digits = prefix[::-1] if sys.byteorder == "little" else prefix
    return np.array(digits, dtype=np.uint16).view(kind)[0]
