"""Random pruning: the baseline that reads neither weights nor data."""

from __future__ import annotations

import hashlib

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.inputs import check_weights
from obtransfer.errors import ObtransferError


def random(weights: Arrays, *, seed: int) -> Scores:
    """Score each weight by chance: a uniform number in [0, 1).

    Each layer draws from a stream of its own, made from the seed and the parameter's name: adding or
    reordering layers changes nothing for the others.

    Args:
        weights: name to array; only the shapes are used.
        seed: at least 0.

    Returns:
        Scores in float64, in [0, 1).

    Raises:
        ObtransferError: there are no weights, some are not finite, or the seed is negative.
    """
    check_weights(weights, "random")
    if seed < 0:
        raise ObtransferError(f"random needs a seed of 0 or more; got {seed}")
    scores = {name: _stream(name, seed).random(weight.shape) for name, weight in weights.items()}
    return Scores(scores, {"criterion": "random", "seed": int(seed)})


def _stream(name: str, seed: int) -> np.random.Generator:
    name_number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, name_number])))


CRITERION = Criterion(score=random, title="Random")
