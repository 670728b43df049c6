"""Which calibration images are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from obtransfer.data.calibration import choose, share
from obtransfer.errors import ObtransferError

LABELS = np.repeat(np.arange(4), [9, 5, 7, 6])[np.random.default_rng(5).permutation(27)]


@pytest.mark.parametrize("count", [4, 10, 19, 20])
def test_every_class_has_its_even_part(count: int) -> None:
    chosen = choose(LABELS, count, 4, seed=3)
    assert len(set(chosen.tolist())) == count and (np.diff(chosen) > 0).all()
    counts = np.bincount(LABELS[chosen], minlength=4)
    assert counts.max() - counts.min() <= 1


def test_the_seed_decides() -> None:
    draws = [choose(LABELS, 10, 4, seed=seed).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_every_image_is_drawn_equally_often() -> None:
    drawn = np.zeros(len(LABELS))
    for seed in range(2000):
        drawn[choose(LABELS, 10, 4, seed=seed)] += 1
    expected = 2000 * 2.5 / np.bincount(LABELS)[LABELS]
    assert (np.abs(drawn - expected) < 5 * np.sqrt(expected)).all()


def test_a_class_that_never_occurs_is_named() -> None:
    with pytest.raises(ObtransferError, match=r"class 1: 0 of 2.*calibration"):
        choose(np.where(LABELS == 1, 0, LABELS), 8, 4, seed=0)
    with pytest.raises(ObtransferError, match="an example of each of the 4 classes; got 3"):
        choose(LABELS, 3, 4, seed=0)


@pytest.mark.parametrize("shares", [1, 3, 10])
def test_shares_are_disjoint_and_complete(shares: int) -> None:
    positions = choose(LABELS, 10, 4, seed=0)
    parts = [share(positions, number, shares) for number in range(1, shares + 1)]
    np.testing.assert_array_equal(np.concatenate(parts), positions)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("number", "shares"), [(0, 3), (4, 3), (1, 11)])
def test_shares_that_cannot_be(number: int, shares: int) -> None:
    with pytest.raises(ObtransferError, match=f"got share {number} of {shares}"):
        share(np.arange(10), number, shares)
