"""The counter-based generator against its published vectors, and the numbers made from it."""

from __future__ import annotations

import numpy as np
import pytest
from obtransfer.curvature import noise


def hexadecimal(counter: str, key: str) -> str:
    """Words as in the published list: least significant word first."""
    words = [np.array([int(word, 16)], dtype=np.uint64) for word in counter.split()]
    low, high = (int(word, 16) for word in key.split())
    return " ".join(f"{int(word[0]):08x}" for word in noise.philox(tuple(words), high << 32 | low))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    """Of philox4x32-10 in Random123's `kat_vectors`."""
    assert hexadecimal(counter, key) == expected


@pytest.mark.parametrize("draw", [noise.uniform, noise.normal])
def test_numbers_belong_to_seed_index_sample_and_position(draw) -> None:
    indices = np.array([3, 2**33 + 3, 0, 17])
    whole = draw(3, 9, indices, 7)
    assert whole.shape == (3, 4, 7)
    assert len(np.unique(whole)) == whole.size
    np.testing.assert_allclose(draw(3, 9, indices[::-1], 7), whole[:, ::-1], rtol=1e-14)
    np.testing.assert_allclose(draw(2, 9, indices[1:2], 5), whole[:2, 1:2, :5], rtol=1e-14)
    for other in (draw(3, 10, indices, 7), draw(3, 9 + 2**32, indices, 7), draw(3, 9, indices + 1, 7)):
        assert not np.intersect1d(other, whole).size


def test_uniform_numbers_are_uniform_and_inside() -> None:
    drawn = noise.uniform(4, 0, np.arange(2500), 10).ravel()
    assert drawn.min() > 0 and drawn.max() < 1
    counts = np.histogram(drawn, bins=50, range=(0, 1))[0]
    expected = len(drawn) / 50
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_squared - 49) < 4 * np.sqrt(2 * 49)


def test_normal_numbers_have_normal_moments_and_no_correlation() -> None:
    drawn = noise.normal(4, 0, np.arange(2500), 10)
    count = drawn.size
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((drawn**power).mean() - moment) < 4 * np.sqrt(variance / count), power
    for first, second in [
        (drawn[:, :, :-1], drawn[:, :, 1:]),
        (drawn[:, :-1], drawn[:, 1:]),
        (drawn[:-1], drawn[1:]),
    ]:
        products = first * second
        assert abs(products.mean()) < 4 / np.sqrt(products.size)
