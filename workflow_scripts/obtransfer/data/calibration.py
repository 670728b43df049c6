"""Which calibration images a statistic reads."""

from __future__ import annotations

import numpy as np

from obtransfer.errors import ObtransferError


def choose(labels: np.ndarray, num_examples: int, num_classes: int, seed: int) -> np.ndarray:
    """Draw examples evenly from every class: ⌊N / K⌋ of each, and one more of N mod K classes drawn at random.

    An uneven draw would bias the curvature towards some classes, and a missing class would seem to need no weights.

    Args:
        labels: [n] integers in 0 … K − 1, not changed.
        num_examples: N >= K.
        num_classes: K.
        seed: of the draw.

    Returns:
        [N] positions in `labels`, ascending.

    Raises:
        ObtransferError: fewer examples than classes, or a class with too few images.
    """
    if num_examples < num_classes:
        raise ObtransferError(
            f"needed an example of each of the {num_classes} classes; got {num_examples} examples; raise "
            "curvature.num_examples"
        )
    generator = np.random.default_rng(seed)
    wanted = np.full(num_classes, num_examples // num_classes)
    wanted[generator.permutation(num_classes)[: num_examples % num_classes]] += 1
    found = np.bincount(labels, minlength=num_classes)
    short = [f"class {k}: {found[k]} of {wanted[k]}" for k in np.flatnonzero(found < wanted)]
    if short:
        raise ObtransferError(
            f"needed {num_examples} calibration examples, evenly from {num_classes} classes; got too few in "
            f"{', '.join(short)}; lower curvature.num_examples or ask for more calibration images"
        )
    chosen = [generator.permutation(np.flatnonzero(labels == k))[: wanted[k]] for k in range(num_classes)]
    return np.sort(np.concatenate(chosen))


def share(positions: np.ndarray, number: int, shares: int) -> np.ndarray:
    """The `positions` that job `number`, from 1 to `shares`, reads. The shares are disjoint and complete.

    Raises:
        ObtransferError: more shares than examples.
    """
    if not 1 <= number <= shares <= len(positions):
        raise ObtransferError(
            f"needed a share from 1 to curvature.shares, and at most one for each of the {len(positions)} examples; "
            f"got share {number} of {shares}"
        )
    return np.array_split(positions, shares)[number - 1]
