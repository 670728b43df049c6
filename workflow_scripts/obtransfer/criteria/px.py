"""Path eXclusion: how much of the network's path kernel goes through the weight."""

from __future__ import annotations

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.inputs import check_statistics
from obtransfer.curvature.structures import per_weight


def px(weights: Arrays, statistics: Arrays) -> Scores:
    """Score each weight by the part of R that is lost with the paths through it: w² ∂R/∂(w²).

    R weighs each path by the squares of its weights and by what the data sends along all paths to the same
    output; `criteria.statistics.px` defines it. Trap: in one shot, large layers lose nearly everything, since
    the scores of each layer of a chain add up to the same R; the authors prune in 100 rounds with new scores
    in each.

    Source: Iurada, Ciccone, Tommasi, *Finding lottery tickets in vision models via data-driven spectral
    foresight pruning*, CVPR 2024.

    Args:
        weights: name to array of any shape; not changed.
        statistics: from the estimator `px`: name to ∂R/∂(w²) of the parameter's shape, at least 0; not
            changed.

    Returns:
        Scores in float64, at least 0; 0 for w = 0.

    Raises:
        ObtransferError: statistics are missing, do not fit the weights, or are not finite.
    """
    check_statistics(statistics, weights, per_weight.STRUCTURE, "px")
    scores = {
        name: np.square(weight, dtype=np.float64) * statistics[name] for name, weight in weights.items()
    }
    return Scores(scores, {"criterion": "px"})


CRITERION = Criterion(score=px, title="PX", needs="per_weight", estimator="px", attention=False)
