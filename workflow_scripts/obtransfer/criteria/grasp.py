"""GraSP: the weight times the Hessian-gradient product."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.criteria.inputs import check_weights, match_statistics
from obtransfer.criteria.result import Scores


def grasp(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray] | None,
    *,
    damping: float = 0.0,
    damping_mode: str = "relative",
    seed: int = 0,
) -> Scores:
    """Score every weight by what its removal takes from the gradient's squared norm: w (H g), with its sign.

    To first order ‖g(w − w_j e_j)‖² = ‖g‖² − 2 w_j (H g)_j: a high score is lost gradient flow, and a
    negative one means that the flow grows without the weight, which is removed first. Trap: the sign. The
    paper's score is −w (H g), and it *removes* the highest. Its public code divides the logits by 200 before
    the loss; there is no such temperature here.

    Source: Wang, Zhang, Grosse, *Picking winning tickets before training by preserving gradient flow*, 2020,
    sec. 4.

    Args:
        weights: name to array of any shape; not changed.
        statistics: the statistic `hessian_gradient`: name to H g of the parameter's shape; not changed.
        damping: not read, as are `damping_mode` and `seed`.

    Returns:
        Scores in float64, of any sign, 0 for w = 0; details hold the share of negative ones of every layer.

    Raises:
        ObtransferError: statistics missing, not fitting or not finite.
    """
    check_weights(weights, "grasp")
    statistics = match_statistics(weights, statistics, "grasp", "per_weight")
    scores = {
        name: np.multiply(statistics[name], weight, dtype=np.float64) for name, weight in weights.items()
    }
    share = {name: float(np.mean(score < 0)) for name, score in scores.items()}
    return Scores(scores, {"criterion": "grasp", "negative_share": share})
