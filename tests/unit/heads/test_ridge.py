"""The ridge head against other ways to compute it, and its refusals."""

import numpy as np
import pytest
from obtransfer.errors import ObtransferError
from obtransfer.heads.ridge import RidgeHead, fit_ridge


def problem(num_examples=60, num_features=7, num_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate(
        [np.arange(num_classes), rng.choice(num_classes, num_examples - num_classes, p=[0.6, 0.2, 0.1, 0.1])]
    )
    return rng.normal(size=(num_examples, num_features)) + 3.0, labels


def augmented_least_squares(features, labels, num_classes, alpha):
    """The same minimiser by lstsq on [√c X̃; √α I], no normal equations."""
    counts = np.bincount(labels, minlength=num_classes)
    root = np.sqrt(len(labels) / (num_classes * counts))[labels][:, None]
    extended = np.hstack([features, np.ones((len(labels), 1))])
    rows = np.vstack([root * extended, np.sqrt(alpha) * np.eye(extended.shape[1])])
    targets = np.vstack([root * np.eye(num_classes)[labels], np.zeros((extended.shape[1], num_classes))])
    return np.linalg.lstsq(rows, targets, rcond=None)[0]


@pytest.mark.parametrize("num_features", [3, 59, 60, 200], ids=["tall", "square", "square_with_bias", "wide"])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
def test_equals_augmented_least_squares(num_features, alpha):
    features, labels = problem(num_features=num_features)
    head = fit_ridge(features, labels, 4, alpha)
    expected = augmented_least_squares(features, labels, 4, alpha)
    np.testing.assert_allclose(head.weight, expected[:-1].T, rtol=0, atol=1e-8)
    np.testing.assert_allclose(head.bias, expected[-1], rtol=0, atol=1e-8)


def test_one_feature_by_hand():
    # x = 1, -1, 1 with labels 0, 1, 1: c = 3/2, 3/4, 3/4. X̃ᵀCX̃ + I = [[4, 1.5], [1.5, 4]], X̃ᵀCY = [[1.5, 0], [1.5, 1.5]].
    head = fit_ridge(np.array([[1.0], [-1.0], [1.0]]), np.array([0, 1, 1]), 2, 1.0)
    determinant = 4 * 4 - 1.5 * 1.5
    np.testing.assert_allclose(
        head.weight[:, 0], [(4 * 1.5 - 1.5 * 1.5) / determinant, -1.5 * 1.5 / determinant]
    )
    np.testing.assert_allclose(head.bias, [(4 * 1.5 - 1.5 * 1.5) / determinant, 4 * 1.5 / determinant])


def test_copies_of_one_class_change_the_counts_but_not_the_balance():
    """Doubling every example of every class is the same fit with α halved; the class weights do the rest."""
    features, labels = problem()
    twice = fit_ridge(np.repeat(features, 2, axis=0), np.repeat(labels, 2), 4, 2.0)
    np.testing.assert_allclose(twice.weight, fit_ridge(features, labels, 4, 1.0).weight, atol=1e-12)
    rare = labels == 3
    more_of_one = fit_ridge(np.vstack([features, features[rare]]), np.append(labels, labels[rare]), 4, 1e-9)
    np.testing.assert_allclose(more_of_one.weight, fit_ridge(features, labels, 4, 1e-9).weight, atol=1e-7)


def test_float32_features_are_fitted_in_float64_and_not_changed():
    features, labels = problem()
    single = features.astype(np.float32)
    before = single.copy()
    head = fit_ridge(single, labels, 4)
    assert head.weight.dtype == head.bias.dtype == np.float64
    assert head.weight.shape == (4, 7) and head.bias.shape == (4,) and head.num_classes == 4
    np.testing.assert_array_equal(single, before)
    np.testing.assert_array_equal(head.weight, fit_ridge(before.astype(np.float64), labels, 4).weight)


def test_logits_by_hand():
    head = RidgeHead(np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([0.5, 0.0]))
    np.testing.assert_array_equal(head.logits(np.array([[1, 1]], dtype=np.float32)), [[3.5, -1.0]])
    with pytest.raises(ObtransferError, match=r"features \[N, 2\]; got \[1, 3\]"):
        head.logits(np.zeros((1, 3)))


def test_noise_is_learnt_by_heart_but_not_predicted():
    """The trap that the splits exist for: 100 % on the rows that were fitted, chance on others."""
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(1000, 800)), np.arange(1000) % 10
    head = fit_ridge(features[:500], labels[:500], 10)
    accuracy = (head.logits(features).argmax(axis=1) == labels).reshape(2, 500).mean(axis=1)
    assert accuracy[0] == 1.0 and accuracy[1] < 0.2


@pytest.mark.parametrize(
    ("features", "labels", "num_classes", "alpha", "message"),
    [
        (np.ones((3, 2)), np.array([0, 2, 2]), 4, 1.0, "got none of class 1, 3"),
        (np.ones((3, 2)), np.array([0, 1, 2]), 2, 1.0, r"0 … 1; got 0 … 2"),
        (np.ones((3, 2)), np.array([0, 1, -1]), 2, 1.0, r"0 … 1; got -1 … 1"),
        (np.array([[1, np.nan], [np.inf, 1]]), np.array([0, 1]), 2, 1.0, "got 2 of 4 NaN or infinite"),
        (np.ones((0, 2)), np.zeros(0, dtype=np.int64), 2, 1.0, "got none"),
        (np.ones((3, 2)), np.array([0, 1]), 2, 1.0, r"\[3, 2\] and \[2\]"),
        (np.ones(3), np.array([0, 1, 1]), 2, 1.0, r"got \[3\]"),
        (np.ones((2, 2)), np.array([0.0, 1.0]), 2, 1.0, "integer labels"),
        (np.ones((2, 2)), np.array([0, 1]), 2, 0.0, "alpha"),
        (np.ones((2, 2)), np.array([0, 1]), 2, float("nan"), "alpha"),
        (1e12 * np.ones((2, 2)), np.array([0, 1]), 2, 1e-12, "raise alpha"),
    ],
)
def test_refusals(features, labels, num_classes, alpha, message):
    with pytest.raises(ObtransferError, match=message):
        fit_ridge(features, labels, num_classes, alpha)
