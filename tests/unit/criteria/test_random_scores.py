"""Random: uniform, seeded, one stream a layer."""

import numpy as np
import pytest
from obtransfer.criteria.random import random
from obtransfer.errors import ObtransferError

WEIGHTS = {"first": np.zeros((3, 4)), "second": np.zeros(12)}


def test_the_same_seed_gives_the_same_scores_and_another_seed_others():
    again, other = random(WEIGHTS, seed=1).scores, random(WEIGHTS, seed=2).scores
    for name, score in random(WEIGHTS, seed=1).scores.items():
        np.testing.assert_array_equal(score, again[name])
        assert not np.any(score == other[name])


def test_stored_values():
    """The stream is part of the definition: a change of numpy or of the code must be seen."""
    score = random({"layer": np.zeros(4)}, seed=0).scores["layer"]
    np.testing.assert_allclose(
        score, [0.326740177029, 0.123798074200, 0.977058234511, 0.566609746402], atol=1e-11
    )


def test_adding_or_reordering_layers_changes_nothing_for_the_others():
    more = {"new": np.zeros(5), "second": WEIGHTS["second"], "first": WEIGHTS["first"]}
    wider, narrow = random(more, seed=3).scores, random(WEIGHTS, seed=3).scores
    for name in WEIGHTS:
        np.testing.assert_array_equal(wider[name], narrow[name])


def test_layers_of_equal_shape_differ():
    scores = random(WEIGHTS, seed=0).scores
    assert not np.any(scores["first"].reshape(-1) == scores["second"])


def test_uniform_without_ties():
    score = random({"layer": np.zeros(100_000)}, seed=5).scores["layer"]
    assert score.min() >= 0 and score.max() < 1 and len(np.unique(score)) == score.size
    counts = np.histogram(score, bins=10, range=(0, 1))[0]
    assert abs(counts - 10_000).max() < 400  # four standard deviations


def test_only_shapes_are_read():
    ones = random({name: np.ones_like(weight) for name, weight in WEIGHTS.items()}, seed=1).scores
    np.testing.assert_array_equal(ones["first"], random(WEIGHTS, seed=1).scores["first"])


def test_a_negative_seed_is_refused():
    with pytest.raises(ObtransferError, match="seed of 0 or more; got -1"):
        random(WEIGHTS, seed=-1)
