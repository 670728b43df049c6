"""Accuracy and loss by hand."""

import numpy as np
import pytest
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.accuracy import score_logits


def test_by_hand():
    logits = np.array([[0.75, 0.25, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]])
    score = score_logits(logits, np.array([0, 2, 2]))
    # Residuals (-1/4, 1/4, 0), (1/2, 0, -1/2), 0; the tie in the second row counts for class 0.
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.loss == pytest.approx(0.5 * (2 / 16 + 2 / 4) / 3)


def test_dead_backbone_scores_chance():
    assert score_logits(np.zeros((20, 10)), np.arange(20) % 10).accuracy == pytest.approx(0.1)


def test_loss_is_summed_in_float64_and_logits_are_not_changed():
    logits = np.full((1, 2), 1e4, dtype=np.float32)
    before = logits.copy()
    assert score_logits(logits, np.array([0])).loss == 0.5 * (9999.0**2 + 10000.0**2)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "N > 0"),
        (np.zeros((2, 2)), np.zeros(3, dtype=int), r"\[2, 2\] and \[3\]"),
        (np.zeros((2, 2)), np.array([0, 2]), "use the head of this task"),
        (np.array([[np.nan, 0.0]]), np.array([0]), "1 of 2 NaN"),
    ],
)
def test_refusals(logits, labels, message):
    with pytest.raises(ObtransferError, match=message):
        score_logits(logits, labels)
