"""What the probe tells apart: moved features and lost ones."""

import numpy as np
import pytest
from obtransfer.evaluate.tasks import score_heads
from obtransfer.heads.ridge import fit_ridge


@pytest.fixture
def halves():
    """Well separated classes, 200 rows to fit and 200 others, and the head of the first."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 16))
    labels = np.arange(400) % 5
    features = centres[labels] + 0.3 * rng.normal(size=(400, 16))
    return features, labels, fit_ridge(features[:200], labels[:200], 5)


def both(head, features, labels):
    scores = score_heads(head, (features[:200], labels[:200]), (features[200:], labels[200:]), alpha=1.0)
    return scores["zero_shot"], scores["probe"]


def test_unchanged_features_score_alike(halves):
    features, labels, head = halves
    zero_shot, probe = both(head, features, labels)
    assert zero_shot == probe and probe.accuracy > 0.95


def test_rotated_features_are_moved_not_lost(halves):
    features, labels, head = halves
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0]
    zero_shot, probe = both(head, features @ rotation, labels)
    assert probe.accuracy > 0.95 and zero_shot.accuracy < 0.6


def test_noise_features_are_lost(halves):
    """A probe that was scored on the rows it was fitted on would reach 100 % here."""
    _, labels, _ = halves
    noise = np.random.default_rng(2).normal(size=(400, 300))
    _, probe = both(fit_ridge(noise[:200], labels[:200], 5), noise, labels)
    assert probe.accuracy < 0.4
