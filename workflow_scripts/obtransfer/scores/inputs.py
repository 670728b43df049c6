"""Checks that every criterion makes of what it is given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.artifacts import check_finite
from obtransfer.errors import ObtransferError


def check_weights(weights: Mapping[str, np.ndarray], criterion: str) -> None:
    """Refuse no weights at all, layers without weights, NaN and infinity.

    Raises:
        ObtransferError: names the layers.
    """
    if not weights:
        raise ObtransferError(f"{criterion} needs the weights of at least one layer, but got none")
    empty = [name for name, weight in weights.items() if weight.size == 0]
    if empty:
        raise ObtransferError(
            f"{criterion} needs layers with weights, but these have none: {', '.join(empty)}"
        )
    check_finite(weights, f"the weights scored by {criterion}")


def match_statistics(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray] | None,
    criterion: str,
    structure: str,
) -> Mapping[str, np.ndarray]:
    """Return the curvature, once it fits the weights: the same layers, the right shapes, finite.

    Args:
        weights: name to array.
        statistics: name to array: the parameter's shape (diagonal), or [ceil(n/B), B, B] (block).
        criterion: who asks, for messages.
        structure: "diagonal" or "block".

    Raises:
        ObtransferError: lists every layer that is missing, unexpected, of another shape, or not finite.
    """
    if statistics is None:
        raise ObtransferError(
            f"{criterion} needs a {structure} curvature, but got none; compute one on a source task"
        )
    problems = [f"{name}: missing" for name in weights if name not in statistics]
    problems += [f"{name}: not among the weights" for name in statistics if name not in weights]
    for name in [name for name in weights if name in statistics]:
        problems += _shape_problem(name, weights[name].shape, statistics[name].shape, structure)
    if problems:
        raise ObtransferError(
            f"{criterion} needs a {structure} curvature of the very weights it scores, but: "
            f"{'; '.join(problems)}. Compute the curvature again for this backbone"
        )
    check_finite(statistics, f"the {structure} curvature read by {criterion}")
    return statistics


def refuse_negative(diagonal: np.ndarray, name: str, criterion: str) -> None:
    """Refuse a curvature with negative diagonal entries, which `ggn` and `empirical_fisher` never have.

    Raises:
        ObtransferError: names the layer, the share of negative entries and the smallest.
    """
    negative = int(np.count_nonzero(diagonal < 0))
    if negative:
        raise ObtransferError(
            f"{criterion} needs a curvature without negative diagonal entries, but in {name} {negative} of "
            f"{diagonal.size} ({negative / diagonal.size:.1%}) are negative, the smallest "
            f"{diagonal.min():.3g}; use an estimator that is never negative, such as ggn"
        )


def _shape_problem(name: str, weight: tuple[int, ...], found: tuple[int, ...], structure: str) -> list[str]:
    if structure == "diagonal":
        return [] if found == weight else [f"{name}: needed shape {list(weight)}, got {list(found)}"]
    size = int(np.prod(weight))
    block = found[-1] if len(found) == 3 else 0
    if block and found == (-(-size // block), block, block):
        return []
    return [f"{name}: needed shape [ceil({size} / B), B, B], got {list(found)}"]
