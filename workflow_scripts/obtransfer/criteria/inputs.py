"""Checks of what a criterion reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from obtransfer.artifacts import check_finite
from obtransfer.criteria.base import Arrays
from obtransfer.errors import ObtransferError

SHOWN = 4
"""Problems that a message lists."""
KEYS: dict[str, dict[str, str]] = {
    "diagonal": {"": ""},
    "per_weight": {"": ""},
    "block": {"": "NBB"},
    "kfac": {":inputs": "GII", ":outputs": "GOO"},
    "ekfac": {":input_basis": "GII", ":output_basis": "GOO", ":eigenvalues": "GOI"},
}
"""What follows a parameter's name in the keys of each structure, and the axes there ("": the parameter's)."""


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


def check_statistics(statistics: Arrays, weights: Arrays, structure: str, criterion: str) -> None:
    """Check the weights, and that the statistic fits them: the same layers, the right shapes, finite.

    Args:
        statistics: by the name of the parameter with each of the structure's `KEYS`:

            * diagonal, per_weight: the parameter's shape;
            * block: [ceil(n/B), B, B];
            * kfac: ":inputs" [G, I', I'] and ":outputs" [G, O, O], for G groups of a weight [G O, ...] with
              I' weights per output;
            * ekfac: ":input_basis" and ":output_basis" of the same shapes, ":eigenvalues" [G, O, I'].
        weights: name to array.
        structure: one of `KEYS`.
        criterion: who asks, for messages.

    Raises:
        ObtransferError: names entries that are missing, unexpected, of another shape, or not finite.
    """
    check_weights(weights, criterion)
    expected = {name + key: name for name in weights for key in KEYS[structure]}
    problems = [f"{entry}: missing" for entry in expected if entry not in statistics]
    problems += [f"{entry}: not among the weights" for entry in statistics if entry not in expected]
    for name, weight in weights.items():
        shapes = {key: statistics[name + key].shape for key in KEYS[structure] if name + key in statistics}
        needed = _needed(weight.shape, shapes, structure)
        problems += [
            f"{name}{key}: needed shape {needed[key]}, got {list(found)}"
            for key, found in shapes.items()
            if str(list(found)) != needed[key]
        ]
    if problems:
        shown = [*problems[:SHOWN], f"{len(problems) - SHOWN} more"] if len(problems) > SHOWN else problems
        raise ObtransferError(
            f"{criterion} needs a statistic ({structure}) of the weights that it scores; "
            f"got {'; '.join(shown)}; compute the statistic again for this backbone"
        )
    check_finite(statistics, f"the {structure} statistic read by {criterion}")


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


def _needed(weight: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], structure: str) -> dict[str, str]:
    """The shape of each key as text; the block size or number of groups is that of the first shape found.

    Where that is no possible one, a letter stands in its place, which no shape equals.
    """
    if structure in ("kfac", "ekfac") and len(weight) < 2:
        return dict.fromkeys(shapes, f"of a weight with outputs and inputs, not one of shape {list(weight)}")
    found = next(iter(shapes.values()), ())
    possible = len(found) == 3 and min(found) > 0
    sizes: dict[str, object] = {}
    if structure == "block":
        size = int(np.prod(weight))
        sizes = {"N": f"ceil({size} / B)", "B": "B"}
        if possible and found[0] == -(-size // found[-1]):
            sizes = {"N": found[0], "B": found[-1]}
    elif len(weight) > 1:
        sizes = {"G": "G", "O": f"{weight[0]} / G", "I": int(np.prod(weight[1:]))}
        if possible and weight[0] % found[0] == 0:
            sizes |= {"G": found[0], "O": weight[0] // found[0]}
    axes = KEYS[structure]
    return {
        key: f"[{', '.join(str(sizes[axis]) for axis in axes[key])}]" if axes[key] else str(list(weight))
        for key in shapes
    }
