"""Random numbers that belong to an example, whatever its batch, its order or its share of the data.

Philox4x32-10 is a function (counter, key) -> 128 random bits. With the seed as key and the example's index in the
counter, no state is kept and nothing is drawn in sequence: any part of the data gives its own numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
"""32-bit words, each in 64 bits so that products do not overflow."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85


def philox(counter: tuple[Words, Words, Words, Words], key: int) -> tuple[Words, Words, Words, Words]:
    """Philox4x32 with ten rounds, for many counters and one key.

    Source: Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.

    Args:
        counter: four words, of shapes that broadcast.
        key: its lowest 64 bits count.

    Returns:
        Four words, each of the common shape.
    """
    a, b, c, d = counter
    low, high = key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF
    for _ in range(10):
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b = (second >> _HALF) ^ b ^ np.uint64(low), second & _LOW
        c, d = (first >> _HALF) ^ d ^ np.uint64(high), first & _LOW
        low, high = (low + _WEYL[0]) & 0xFFFFFFFF, (high + _WEYL[1]) & 0xFFFFFFFF
    a, b, c, d = np.broadcast_arrays(a, b, c, d)
    return a, b, c, d


def uniform(num_samples: int, seed: int, indices: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Independent uniform numbers in (0, 1), each a function of (seed, index, sample, position) alone.

    Args:
        num_samples: S.
        seed: any integer.
        indices: of the examples, [B].
        count: how many numbers per example and sample, C.

    Returns:
        [S, B, C]; the first samples and positions are the same for larger S and C.
    """
    index = indices.astype(np.int64).view(np.uint64)[None, :, None]
    sample = np.arange(num_samples, dtype=np.uint64)[:, None, None]
    position = np.arange(-(-count // 4), dtype=np.uint64)
    words = np.stack(philox((index & _LOW, index >> _HALF, position, sample), seed), axis=-1)
    flat = words.reshape(num_samples, len(indices), 4 * len(position))[..., :count]
    return (flat.astype(np.float64) + 0.5) / 2.0**32


def normal(num_samples: int, seed: int, indices: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Independent N(0, 1) numbers, by Box and Muller's transform of `uniform`; arguments and shape as there."""
    even = count + count % 2
    pairs = uniform(num_samples, seed, indices, even).reshape(num_samples, len(indices), even // 2, 2)
    radius, angle = np.sqrt(-2.0 * np.log(pairs[..., 0])), 2.0 * np.pi * pairs[..., 1]
    both = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return both.reshape(num_samples, len(indices), even)[..., :count]
