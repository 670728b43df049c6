"""SNIP: the gradient times the weight."""

from __future__ import annotations

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.inputs import check_statistics
from obtransfer.curvature.structures import per_weight


def snip(weights: Arrays, statistics: Arrays) -> Scores:
    """Score each weight by the first-order change of the loss when it alone is removed: |g w|.

    g is the mean gradient of the loss over the examples. The paper divides by the sum of all scores; this
    changes no order and is left out. Trap: g is nearly 0 at a trained network, so that the second order
    matters more and the order is mostly noise of the examples.

    Source: Lee, Ajanthan, Torr, *SNIP: single-shot network pruning based on connection sensitivity*, 2019,
    sec. 4.

    Args:
        weights: name to array of any shape; not changed.
        statistics: from the estimator `gradient`: name to g of the parameter's shape; not changed.

    Returns:
        Scores in float64, at least 0; 0 for w = 0.

    Raises:
        ObtransferError: statistics are missing, do not fit the weights, or are not finite.
    """
    check_statistics(statistics, weights, per_weight.STRUCTURE, "snip")
    scores = {
        name: np.abs(np.multiply(statistics[name], weight, dtype=np.float64))
        for name, weight in weights.items()
    }
    return Scores(scores, {"criterion": "snip"})


CRITERION = Criterion(score=snip, title="SNIP", needs="per_weight", estimator="gradient")
