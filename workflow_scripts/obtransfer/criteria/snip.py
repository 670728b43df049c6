"""SNIP: the gradient times the weight."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.criteria.inputs import check_weights, match_statistics
from obtransfer.criteria.result import Scores


def snip(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray] | None,
    *,
    damping: float = 0.0,
    damping_mode: str = "relative",
    seed: int = 0,
) -> Scores:
    """Score every weight by the first-order change of the loss when it alone is removed: |g w|.

    g is the mean gradient of the loss over the examples. The paper divides by the sum of all scores, which
    changes nothing in their order, and is left out. Trap: at a trained network g is nearly 0, so that second
    order matters more and the order is mostly noise of the examples.

    Source: Lee, Ajanthan, Torr, *SNIP: single-shot network pruning based on connection sensitivity*, 2019,
    sec. 4.

    Args:
        weights: name to array of any shape; not changed.
        statistics: the statistic `gradient`: name to g of the parameter's shape; not changed.
        damping: not read, as are `damping_mode` and `seed`.

    Returns:
        Scores in float64, never negative, 0 for w = 0.

    Raises:
        ObtransferError: statistics missing, not fitting or not finite.
    """
    check_weights(weights, "snip")
    statistics = match_statistics(weights, statistics, "snip", "per_weight")
    scores = {
        name: np.abs(np.multiply(statistics[name], weight, dtype=np.float64))
        for name, weight in weights.items()
    }
    return Scores(scores, {"criterion": "snip"})
