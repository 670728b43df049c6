"""SynFlow: how much of a signal of ones flows through the weight."""

from __future__ import annotations

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.inputs import check_statistics
from obtransfer.curvature.structures import per_weight


def synflow(weights: Arrays, statistics: Arrays) -> Scores:
    """Score each weight by its synaptic flow: |w ∂R/∂|w||.

    R is the sum of the features for an input of ones when all weights are |w|. In a chain of convolutions,
    linear layers and ReLUs, R is a sum over paths, and the scores of each layer add up to R. Trap: for that
    reason, large layers lose everything in one shot; the paper prunes in 100 rounds with new scores in each.

    Source: Tanaka, Kunin, Yamins, Ganguli, *Pruning neural networks without any data by iteratively
    conserving synaptic flow*, 2020 (R_SF).

    Args:
        weights: name to array of any shape; not changed.
        statistics: from the estimator `synflow`: name to ∂R/∂|w| of the parameter's shape; not changed.

    Returns:
        Scores in float64, at least 0; 0 for w = 0.

    Raises:
        ObtransferError: statistics are missing, do not fit the weights, or are not finite.
    """
    check_statistics(statistics, weights, per_weight.STRUCTURE, "synflow")
    scores = {
        name: np.abs(np.multiply(statistics[name], weight, dtype=np.float64))
        for name, weight in weights.items()
    }
    return Scores(scores, {"criterion": "synflow"})


CRITERION = Criterion(score=synflow, title="SynFlow", needs="per_weight", estimator="synflow")
