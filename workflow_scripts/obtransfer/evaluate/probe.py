"""The probe: a head re-fitted on a changed backbone, which tells lost features from moved ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from obtransfer.evaluate.accuracy import Score, score_logits
from obtransfer.heads.ridge import RidgeHead, fit_ridge


def score_zero_shot(
    head: RidgeHead, features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> Score:
    """Score features with a head that was fitted on other features: those of the dense backbone.

    Args:
        head: the frozen head [K, D].
        features: [N, D], of images that the head was not fitted on.
        labels: [N] integers.

    Returns:
        Accuracy in [0, 1] and loss.
    """
    return score_logits(head.logits(features), labels)


def score_probe(
    train_features: npt.NDArray[np.floating],
    train_labels: npt.NDArray[np.integer],
    test_features: npt.NDArray[np.floating],
    test_labels: npt.NDArray[np.integer],
    *,
    num_classes: int,
    alpha: float,
) -> Score:
    """Re-fit the ridge head on this backbone's train features and score it on the test features.

    A high probe beside a low zero-shot accuracy says that pruning moved the features but kept the information.
    The trap: it sees labels of the task, so it is not what a user without labels gets.

    Args:
        train_features: [N, D], the rows to fit.
        train_labels: [N] integers, every class at least once.
        test_features: [M, D] of other images, the rows to score.
        test_labels: [M] integers.
        num_classes: K.
        alpha: ridge penalty, that of the dense head for a fair comparison.

    Returns:
        Accuracy in [0, 1] and loss, of the test rows.
    """
    return score_zero_shot(
        fit_ridge(train_features, train_labels, num_classes, alpha), test_features, test_labels
    )
