"""GraSP: the weight times the Hessian-gradient product."""

from __future__ import annotations

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.inputs import check_statistics
from obtransfer.curvature.structures import per_weight


def grasp(weights: Arrays, statistics: Arrays) -> Scores:
    """Score each weight by what its removal takes from the gradient's squared norm: w (H g).

    To first order ‖g(w − w_j e_j)‖² = ‖g‖² − 2 w_j (H g)_j: a high score is lost gradient flow. Where the
    score is negative, the flow grows without the weight; such weights are removed first. Trap: the sign. The
    paper's score is −w (H g), and the highest are removed. Its public code divides the logits by 200 before
    the loss; there is no such temperature here.

    Source: Wang, Zhang, Grosse, *Picking winning tickets before training by preserving gradient flow*, 2020,
    sec. 4.

    Args:
        weights: name to array of any shape; not changed.
        statistics: from the estimator `hessian_gradient`: name to H g of the parameter's shape; not changed.

    Returns:
        Scores in float64, of any sign; 0 for w = 0. Details hold each layer's share of negative scores.

    Raises:
        ObtransferError: statistics are missing, do not fit the weights, or are not finite.
    """
    check_statistics(statistics, weights, per_weight.STRUCTURE, "grasp")
    scores = {
        name: np.multiply(statistics[name], weight, dtype=np.float64) for name, weight in weights.items()
    }
    share = {name: float(np.mean(score < 0)) for name, score in scores.items()}
    return Scores(scores, {"criterion": "grasp", "negative_share": share})


CRITERION = Criterion(score=grasp, title="GraSP", needs="per_weight", estimator="hessian_gradient")
