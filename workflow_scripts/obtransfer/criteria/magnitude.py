"""Magnitude pruning."""

from __future__ import annotations

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.inputs import check_weights


def magnitude(weights: Arrays) -> Scores:
    """Score each weight by its square: ½ w².

    It is the increase of the loss if the curvature were the identity. No data is read: one mask serves every
    source. Weights are ordered as by |w|; the squares matter where scores are added.

    Source: Iurada, Occhiena, Tommasi (2025), ε_mag; Han et al. (2015).

    Args:
        weights: name to array of any shape; not changed.

    Returns:
        Scores in float64, at least 0.

    Raises:
        ObtransferError: there are no weights, or some are not finite.
    """
    check_weights(weights, "magnitude")
    scores = {name: 0.5 * np.square(weight, dtype=np.float64) for name, weight in weights.items()}
    return Scores(scores, {"criterion": "magnitude"})


CRITERION = Criterion(score=magnitude, title="Magnitude")
