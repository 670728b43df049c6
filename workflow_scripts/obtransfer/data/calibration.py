"""Which calibration images a statistic reads."""

from __future__ import annotations

import numpy as np

from obtransfer.errors import ObtransferError


def choose(labels: np.ndarray, num_examples: int, num_classes: int, seed: int) -> np.ndarray:
    """Draw examples evenly from every class: ⌊N / K⌋ of each, and one more of N mod K classes drawn by lot.

    An uneven draw would tilt the curvature towards some classes, and a class that is missing would look as if it
    needed no weights at all.

    Args:
        labels: [n] integers in 0 … K − 1, not changed.
        num_examples: N >= K.
        num_classes: K.
        seed: of the draw.

    Returns:
        [N] positions in `labels`, ascending.

    Raises:
        ObtransferError: fewer examples than classes asked for, or a class with too few images.
    """
    if num_examples < num_classes:
        raise ObtransferError(
            f"curvature needs an example of each of the {num_classes} classes; asked for {num_examples} examples: "
            "raise curvature.num_examples"
        )
    chance = np.random.default_rng(seed)
    wanted = np.full(num_classes, num_examples // num_classes)
    wanted[chance.permutation(num_classes)[: num_examples % num_classes]] += 1
    found = np.bincount(labels, minlength=num_classes)
    short = [f"class {k}: {found[k]} of {wanted[k]}" for k in np.flatnonzero(found < wanted)]
    if short:
        raise ObtransferError(
            f"curvature needs {num_examples} calibration examples, evenly from {num_classes} classes, but some have too "
            f"few: {', '.join(short)}. Ask for fewer (curvature.num_examples) or for more calibration images"
        )
    chosen = [chance.permutation(np.flatnonzero(labels == k))[: wanted[k]] for k in range(num_classes)]
    return np.sort(np.concatenate(chosen))


def share(positions: np.ndarray, number: int, shares: int) -> np.ndarray:
    """The part of `positions` that job `number`, from 1 to `shares`, reads; the parts are disjoint and complete.

    Raises:
        ObtransferError: more shares than examples.
    """
    if not 1 <= number <= shares <= len(positions):
        raise ObtransferError(
            f"needed a share from 1 to curvature.shares, and at most one for each of the {len(positions)} examples; "
            f"got share {number} of {shares}"
        )
    return np.array_split(positions, shares)[number - 1]
