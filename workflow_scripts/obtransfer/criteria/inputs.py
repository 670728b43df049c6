"""Checks of what a criterion reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from obtransfer.artifacts import check_finite
from obtransfer.criteria.base import Arrays
from obtransfer.errors import ObtransferError, listed

if TYPE_CHECKING:
    from obtransfer.curvature.structures.base import Structure


def check_weights(weights: Arrays, criterion: str) -> None:
    """Refuse no weights at all, layers without weights, NaN and infinity.

    Raises:
        ObtransferError: names the layers.
    """
    if not weights:
        raise ObtransferError(f"{criterion} needs the weights of at least one layer; got none")
    empty = [name for name, weight in weights.items() if weight.size == 0]
    if empty:
        raise ObtransferError(f"{criterion} needs layers with weights; got none in {', '.join(empty)}")
    check_finite(weights, f"the weights scored by {criterion}")


def check_statistics(statistics: Arrays, weights: Arrays, structure: Structure, criterion: str) -> None:
    """Check the weights, and that the statistic fits them: the same layers, the right shapes, finite.

    Args:
        statistics: parameter names with the structure's keys to arrays.
        weights: parameter name to array.
        structure: of the statistic.
        criterion: for messages.

    Raises:
        ObtransferError: names entries that are missing, unexpected, of another shape, or not finite.
    """
    check_weights(weights, criterion)
    problems = structure.problems(statistics, weights)
    if problems:
        raise ObtransferError(
            f"{criterion} needs a statistic ({structure.name}) of the weights that it scores; "
            f"got {listed(problems, '; ')}; compute the statistic again for this backbone"
        )
    check_finite(statistics, f"the {structure.name} statistic read by {criterion}")


def refuse_negative(diagonal: np.ndarray, name: str, criterion: str) -> None:
    """Refuse a curvature with negative diagonal entries, which `ggn` and `empirical_fisher` never have.

    Raises:
        ObtransferError: names the layer, the share of negative entries and the smallest.
    """
    negative = int(np.count_nonzero(diagonal < 0))
    if negative:
        raise ObtransferError(
            f"{criterion} needs a curvature without negative diagonal entries; got {negative} of "
            f"{diagonal.size} ({negative / diagonal.size:.1%}) in {name}, the smallest {diagonal.min():.3g}; "
            "use an estimator that is never negative, such as ggn"
        )
