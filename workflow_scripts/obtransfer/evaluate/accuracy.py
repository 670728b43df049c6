"""Top-1 accuracy and squared loss of logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from obtransfer.errors import ObtransferError


class Score(NamedTuple):
    """Accuracy in [0, 1], and the mean over examples of ½ ‖logits − one-hot label‖²."""

    accuracy: float
    loss: float


def score_logits(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> Score:
    """Score logits against labels.

    accuracy = 1/N Σ_n [argmax_k f_nk = y_n], loss = 1/N Σ_n ½ ‖f_n − onehot(y_n)‖², both in float64. Equal
    logits count for the lowest class, so a backbone with constant features scores the fraction of class 0: chance,
    if the classes are balanced. The loss sums over classes: it is K/2 times a mean over batch and classes.

    Args:
        logits: [N, K] floating, finite; not mutated.
        labels: [N] integers in 0 … K - 1.

    Returns:
        The accuracy (in [0, 1]) and the loss (>= 0).

    Raises:
        ObtransferError: on shapes that do not match, no examples, labels out of range, or logits that are not finite
            (argmax of NaN would be counted as a prediction).
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ObtransferError(
            f"scoring needs logits [N, K] and labels [N] with N > 0; got {list(logits.shape)} and {list(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ObtransferError(
            f"labels must lie in 0 … {logits.shape[1] - 1}; got {labels.min()} … {labels.max()}; use the head of this task"
        )
    bad = int(np.count_nonzero(~np.isfinite(logits)))
    if bad:
        raise ObtransferError(f"scoring needs finite logits; got {bad} of {logits.size} NaN or infinite")
    accuracy = float(np.mean(logits.argmax(axis=1) == labels))
    residual = logits.astype(np.float64)
    residual[np.arange(len(labels)), labels] -= 1.0
    return Score(accuracy, float(0.5 * np.sum(residual * residual) / len(labels)))
