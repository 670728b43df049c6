"""The ridge head against scikit-learn's Ridge with the bias as a column and the class weights as sample weights."""

import numpy as np
import pytest
from obtransfer.heads.ridge import fit_ridge


@pytest.mark.slow
@pytest.mark.parametrize("num_features", [5, 80])
def test_equals_sklearn_ridge_on_extended_features(num_features):
    from sklearn.linear_model import Ridge
    from sklearn.utils.class_weight import compute_sample_weight

    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(3), rng.choice(3, 47, p=[0.7, 0.2, 0.1])])
    features = rng.normal(size=(50, num_features)) + 1.0
    extended = np.hstack([features, np.ones((50, 1))])
    reference = Ridge(alpha=0.7, fit_intercept=False, solver="svd")
    reference.fit(extended, np.eye(3)[labels], sample_weight=compute_sample_weight("balanced", labels))
    head = fit_ridge(features, labels, 3, alpha=0.7)
    np.testing.assert_allclose(head.weight, reference.coef_[:, :-1], atol=1e-10)
    np.testing.assert_allclose(head.bias, reference.coef_[:, -1], atol=1e-10)
