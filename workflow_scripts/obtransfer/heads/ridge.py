"""The ridge head: a linear least-squares classifier on frozen features, solved in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obtransfer.errors import ObtransferError

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RidgeHead:
    """A frozen linear head, ``logits = features @ weight.T + bias``.

    Args:
        weight: [K, D] float64.
        bias: [K] float64.
    """

    weight: Float64Array
    bias: Float64Array

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return int(self.weight.shape[0])

    def logits(self, features: npt.NDArray[np.floating]) -> Float64Array:
        """Apply the head in float64.

        Args:
            features: [N, D] floating.

        Returns:
            [N, K] float64; they regress one-hot targets, so 0 and 1 are the values to compare with.

        Raises:
            ObtransferError: if the features do not have D columns.
        """
        if features.ndim != 2 or features.shape[1] != self.weight.shape[1]:
            raise ObtransferError(
                f"the head needs features [N, {self.weight.shape[1]}]; got {list(features.shape)}; "
                "use the head that was fitted for this backbone"
            )
        logits: Float64Array = features.astype(np.float64) @ self.weight.T + self.bias
        return logits


def fit_ridge(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    num_classes: int,
    alpha: float = 1.0,
) -> RidgeHead:
    """Fit a class-balanced ridge regression to one-hot targets.

    Solves (X̃ᵀ C X̃ + α I) Ξ = X̃ᵀ C Y with X̃ = [X, 1], Y one-hot in {0, 1}, C = diag(c_{y_n}) and the
    balanced class weights c_k = N / (K N_k); in float64, by Cholesky.

    The trap: α multiplies the identity of *all* D + 1 columns, so the bias is regularised too. (scikit-learn does not
    regularise the intercept, and its ``RidgeClassifier`` regresses ±1.) A score on the fitted rows means nothing: with
    D > N it is 100 % on noise.

    Source: Iurada et al. 2025 (arXiv 2509.24066), the head ξ_t, b_t; the class weights are scikit-learn's "balanced".

    Cost: N D² + D³ / 3 multiplications, one [D + 1, D + 1] matrix.

    Args:
        features: [N, D] floating, finite; not mutated.
        labels: [N] integers in 0 … K - 1, each class at least once.
        num_classes: K.
        alpha: α > 0, the ridge penalty (absolute).

    Returns:
        The head, weight [K, D] and bias [K], float64.

    Raises:
        ObtransferError: on shapes that do not match, no examples, non-finite features, labels out of range, a class
            without examples, alpha <= 0, or a system that is singular in float64.
    """
    _check(features, labels, num_classes, alpha)
    counts = np.bincount(labels, minlength=num_classes)
    class_weights = len(labels) / (num_classes * counts)
    augmented = np.ones((features.shape[0], features.shape[1] + 1), dtype=np.float64)
    augmented[:, :-1] = features
    weighted = augmented * class_weights[labels][:, None]
    gram = weighted.T @ augmented
    gram[np.diag_indices_from(gram)] += alpha
    solution = _solve_positive_definite(gram, weighted.T @ np.eye(num_classes)[labels], alpha)
    return RidgeHead(weight=np.ascontiguousarray(solution[:-1].T), bias=solution[-1].copy())


def _solve_positive_definite(matrix: Float64Array, right: Float64Array, alpha: float) -> Float64Array:
    """Solve ``matrix @ x = right`` by Cholesky; a matrix that is not positive definite is an error.

    numpy has no triangular solver. Its general one costs little beside the Gram matrix, and importing scipy.linalg would
    cost every short step 0.8 s.
    """
    try:
        factor = np.linalg.cholesky(matrix)
        solution: Float64Array = np.linalg.solve(factor.T, np.linalg.solve(factor, right))
    except np.linalg.LinAlgError as error:
        raise ObtransferError(
            f"a ridge system must be positive definite in float64; got alpha {alpha:g} with a largest diagonal entry of "
            f"{matrix.diagonal().max():.3g}: the features are too large for this penalty; raise alpha"
        ) from error
    return solution


def _check(
    features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], num_classes: int, alpha: float
) -> None:
    """Refuse arguments outside the formula's domain."""
    if features.ndim != 2 or labels.ndim != 1 or len(features) != len(labels):
        raise ObtransferError(
            "a ridge head needs features [N, D] and labels [N]; "
            f"got {list(features.shape)} and {list(labels.shape)}"
        )
    if len(labels) == 0:
        raise ObtransferError("a ridge head needs at least one example of every class; got none at all")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ObtransferError(f"a ridge head needs integer labels; got {labels.dtype}")
    if not (np.isfinite(alpha) and alpha > 0):
        raise ObtransferError(f"the ridge penalty alpha must be a finite number > 0; got {alpha}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ObtransferError(
            f"labels must lie in 0 … {num_classes - 1}; got {labels.min()} … {labels.max()}; "
            "check num_classes against the task's list of classes"
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(missing):
        raise ObtransferError(
            f"a ridge head needs examples of every class; got none of class {', '.join(map(str, missing))} "
            f"(of {num_classes}) among {len(labels)} examples; enlarge the train split"
        )
    bad = int(np.count_nonzero(~np.isfinite(features)))
    if bad:
        raise ObtransferError(
            f"a ridge head needs finite features; got {bad} of {features.size} NaN or infinite; "
            "check the backbone's weights"
        )
