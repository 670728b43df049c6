"""Optimal Brain Surgeon with Kronecker factors: a whole layer as one block."""

from __future__ import annotations

import numpy as np

from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.criteria.blocks import NotPositiveDefinite, inverse_diagonal
from obtransfer.criteria.damping import DampingMode, PositiveDamping, check_damping
from obtransfer.criteria.inputs import check_statistics, refuse_negative
from obtransfer.curvature.structures import ekfac, kfac
from obtransfer.errors import ObtransferError


def kfac_obs(
    weights: Arrays,
    statistics: Arrays,
    *,
    damping: PositiveDamping,
    damping_mode: DampingMode = "relative",
) -> Scores:
    """Score each weight by the loss increase if its layer compensates: ½ w_oi² / ([A_λ⁻¹]_ii [Γ_λ⁻¹]_oo).

    H ≈ A ⊗ Γ is the curvature of a layer, or of each group of a convolution. The damping is split between the
    factors: A_λ = A + π √λ I and Γ_λ = Γ + √λ / π I, π² = mean diag A / mean diag Γ. An eigenvalue-corrected
    statistic (`ekfac`) gives ½ w² / [Q (Λ + λ)⁻¹ Qᵀ]_jj, where λ is exact. A relative λ is in units of the
    layer's mean diagonal of H: mean diag A · mean diag Γ, or mean Λ. Trap: besides λ, the split damping adds
    π √λ I ⊗ Γ + √λ / π A ⊗ I, so that at one λ `kfac` scores higher than the same matrix does with exact
    damping, as in `obs`. Groups whose H is zero score ½ w² λ, the limit; the details list their layers.

    Source: Hassibi, Stork (1992), eq. 5, with the curvature and damping of Martens, Grosse, *Optimizing
    neural networks with Kronecker-factored approximate curvature*, 2015, sec. 6.3; eigenvalue-corrected:
    George et al., *Fast approximate natural gradient descent in a Kronecker-factored eigenbasis*, 2018.

    Args:
        weights: name to [G O, ...], I' weights per output; not changed.
        statistics: name:inputs A [G, I', I'] and name:outputs Γ [G, O, O], symmetric (only the lower triangle
            is read); or name:input_basis, name:output_basis (eigenvectors in columns) and name:eigenvalues Λ
            [G, O, I']. Not changed.
        damping: λ > 0, absolute or relative. A direct call may pass 0 where all factors are positive
            definite.
        damping_mode: "relative" or "absolute".

    Returns:
        Scores in float64, at least 0. Details hold each layer's absolute λ.

    Raises:
        ObtransferError: statistics are missing, do not fit the weights, are not finite, or are negative on a
            diagonal; factors are not positive definite with this λ (the message names a λ that is enough).
    """
    check_damping(damping, damping_mode, "kfac_obs")
    corrected = any(name.endswith(":eigenvalues") for name in statistics or ())
    structure = ekfac.STRUCTURE if corrected else kfac.STRUCTURE
    check_statistics(statistics, weights, structure, "kfac_obs")
    scores, absolute, flat = {}, {}, []
    for name, weight in weights.items():
        layer = {key: statistics[name + key] for key in structure.axes}
        means = _means(layer, name)
        unit = float(means.mean())
        absolute[name] = damping * unit if damping_mode == "relative" else float(damping)
        # A semi-definite H whose diagonal is zero is zero: the score is ½ w² λ, also in the limit λ = 0.
        shape = len(means), weight.size // len(means)
        inverse = np.full(shape, 1 / absolute[name] if absolute[name] else np.inf)
        alive = np.flatnonzero(means > 0)
        if alive.size:
            part = {key: array[alive] if alive.size < len(means) else array for key, array in layer.items()}
            invert = _eigenvalue_inverse if corrected else _factor_inverse
            inverse[alive] = invert(part, absolute[name], name, unit, alive)
        scores[name] = 0.5 * np.square(weight, dtype=np.float64) / inverse.reshape(weight.shape)
        if alive.size < len(means):
            flat.append(name)
    details = {
        "criterion": "kfac_obs",
        "structure": structure.name,
        "damping": float(damping),
        "damping_mode": damping_mode,
        "absolute_damping": absolute,
        "layers_without_curvature": flat,
    }
    return Scores(scores, details)


def _means(layer: Arrays, name: str) -> np.ndarray:
    """[G] the mean diagonal entry of each group's H."""
    if ":eigenvalues" in layer:
        refuse_negative(layer[":eigenvalues"], f"{name}:eigenvalues", "kfac_obs")
        return layer[":eigenvalues"].mean(axis=(1, 2), dtype=np.float64)
    for key, factors in layer.items():
        refuse_negative(factors.diagonal(axis1=1, axis2=2), name + key, "kfac_obs")
    return _mean_diagonals(layer[":inputs"]) * _mean_diagonals(layer[":outputs"])


def _mean_diagonals(factors: np.ndarray) -> np.ndarray:
    return factors.diagonal(axis1=1, axis2=2).mean(axis=1, dtype=np.float64)


def _factor_inverse(layer: Arrays, damping: float, name: str, unit: float, groups: np.ndarray) -> np.ndarray:
    """[G, O I'] the diagonal of A_λ⁻¹ ⊗ Γ_λ⁻¹ of groups whose H is not zero."""
    ratio = np.sqrt(_mean_diagonals(layer[":inputs"]) / _mean_diagonals(layer[":outputs"]))  # π
    found, problems, enough = [], [], 0.0
    for key, scale in ((":inputs", ratio), (":outputs", 1 / ratio)):
        count, size, _ = layer[key].shape
        try:
            diagonal = inverse_diagonal(layer[key], count * size, scale * damping**0.5)
            found.append(diagonal.reshape(count, size))
        except NotPositiveDefinite as failure:
            worst = int(failure.pivots.argmin())
            group, pivot = groups[failure.indices[worst]], failure.pivots[worst]
            problems.append(f"the smallest pivot {pivot:.3g} in {name}{key} (group {group})")
            enough = max(enough, float(np.square(failure.enough / scale[failure.indices]).max()))
    if problems:
        raise _refusal(" and ".join(problems), damping, enough, unit)
    inputs, outputs = found
    return (outputs[:, :, None] * inputs[:, None, :]).reshape(len(ratio), -1)


def _eigenvalue_inverse(
    layer: Arrays, damping: float, name: str, unit: float, groups: np.ndarray
) -> np.ndarray:
    """[G, O I'] the diagonal of Q (Λ + λ)⁻¹ Qᵀ, Q = Q_Γ ⊗ Q_A."""
    eigenvalues = layer[":eigenvalues"].astype(np.float64) + damping
    smallest, largest = eigenvalues.min(axis=(1, 2)), float(eigenvalues.max())
    if smallest.min() <= largest * np.finfo(np.float64).eps:
        problem = (
            f"the smallest eigenvalue {smallest.min():.3g} in {name} (group {groups[smallest.argmin()]})"
        )
        raise _refusal(problem, damping, 1e-6 * largest, unit)
    inputs, outputs = (np.square(layer[key], dtype=np.float64) for key in (":input_basis", ":output_basis"))
    return (outputs @ (1 / eigenvalues) @ inputs.transpose(0, 2, 1)).reshape(len(groups), -1)


def _refusal(problem: str, damping: float, enough: float, unit: float) -> ObtransferError:
    return ObtransferError(
        f"kfac_obs needs positive definite factors; got {problem}, with λ = {damping:.3g}; for this layer set "
        f"damping to {enough:.3g} (absolute) or {enough / unit:.3g} (relative)"
    )


CRITERION = Criterion(score=kfac_obs, title="K-FAC OBS", needs="kfac")
