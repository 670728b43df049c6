"""Scores and masks of any network, without a workflow. `obtransfer` exports them; docs/library.md shows their use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from obtransfer.declare import REQUIRED
from obtransfer.errors import ObtransferError
from obtransfer.masks.mask import Mask
from obtransfer.registry import ALLOCATIONS, CRITERIA, resolve

if TYPE_CHECKING:
    from torch import Tensor, nn

    from obtransfer.criteria.base import Criterion

    Values = Mapping[str, Tensor | np.ndarray]


def score_weights(
    model: nn.Module,
    criterion: str,
    statistic: Values | None = None,
    *,
    parameters: Sequence[str] | None = None,
    seed: int = 0,
    **settings: Any,
) -> dict[str, np.ndarray]:
    """Score weights by the increase of the loss that their removal is expected to cause.

    For definitions and sources see docs/criteria.md and the criteria's functions (`obtransfer.criteria`).

    Args:
        model: on any device; not changed.
        criterion: magnitude, obd, obs, kfac_obs, snip, grasp, synflow, px or random.
        statistic: from `compute_statistic`, by an estimator and with a structure that the criterion accepts; not read by
            magnitude and random.
        parameters: names of Conv2d and Linear weights; None for those of the statistic, or for all without a statistic.
        seed: of criteria that draw random numbers.
        settings: the criterion's own, such as ``damping=0.1`` in units of each layer's mean diagonal.

    Returns:
        Parameter name -> float64 array of the parameter's shape, in the order of the model; higher = keep.

    Raises:
        ObtransferError: names or settings that do not exist, or a statistic that does not fit the weights.
    """
    from obtransfer.models.prunable import prunable_parameters

    if criterion not in CRITERIA:
        raise ObtransferError(
            f"needed the name of a criterion; got {criterion!r}; there are: {', '.join(CRITERIA)}"
        )
    _check_settings(CRITERIA[criterion], criterion, settings)
    prunable, found = prunable_parameters(model), {n: _array(v) for n, v in (statistic or {}).items()}
    named = (
        {key.partition(":")[0] for key in found} or set(prunable) if parameters is None else set(parameters)
    )
    unknown = named.difference(prunable)
    if unknown:
        raise ObtransferError(
            f"{criterion} needs Conv2d and Linear weights of the model; got {', '.join(sorted(unknown))}; pass the model "
            "that the statistic is of"
        )
    weights = {name: _array(model.get_parameter(name)) for name in prunable if name in named}
    return CRITERIA[criterion].scores(weights, found, settings, seed).scores


def make_mask(scores: Values, sparsity: str | float | Decimal, allocation: str = "global") -> Mask:
    """Remove the weights with the lowest scores.

    Args:
        scores: parameter name -> scores of the parameter's shape, from `score_weights` or your own; higher = keep, no NaN;
            not changed.
        sparsity: the fraction of these weights to remove, in [0, 1).
        allocation: how it is spread over the layers: global, uniform, erk, n_of_4, n_of_8 or n_of_16.

    Returns:
        A mask that removes exactly ⌊sparsity · number of weights⌋ weights (n_of_m: only in layers with whole groups).

    Raises:
        ObtransferError: an allocation that does not exist, no scores, NaN, or a sparsity out of range.
    """
    if allocation not in ALLOCATIONS:
        raise ObtransferError(
            f"needed the name of an allocation; got {allocation!r}; there are: {', '.join(ALLOCATIONS)}"
        )
    return Mask(resolve(ALLOCATIONS[allocation])({n: _array(v) for n, v in scores.items()}, sparsity))


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    """On the host, in float32 or float64."""
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    return np.ascontiguousarray((values if values.element_size() == 8 else values.float()).numpy())


def _check_settings(criterion: Criterion, name: str, settings: Mapping[str, Any]) -> None:
    wrong = [
        f"no {key}"
        for key, own in criterion.settings.items()
        if own.default is REQUIRED and key not in settings
    ]
    wrong += [f"the unknown {key}" for key in settings if key not in criterion.settings]
    if wrong:
        known = ", ".join(criterion.settings) or "none"
        raise ObtransferError(f"{name} needs its settings; got {', '.join(wrong)}; its settings: {known}")
