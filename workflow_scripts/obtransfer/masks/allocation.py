"""Allocation: how the sparsity is spread over the layers. One public function per allocation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.errors import ObtransferError
from obtransfer.masks.sparsity import count_removed, parse_sparsity
from obtransfer.masks.topk import keep_mask, keep_masks


def global_(scores: Arrays, sparsity: str | float | Decimal) -> dict[str, np.ndarray]:
    """Remove the lowest scores of the whole network.

    Exactly ⌊q P⌋ of P weights; ties by layer in the order given, then by row-major position: the earlier is
    removed first. For one set of scores, masks of growing sparsity are nested.

    Args:
        scores: name to array, higher = keep, no NaN; not changed.
        sparsity: q in [0, 1), as text or number, taken as the decimal it is written as.

    Returns:
        name to bool array of the same shape, True = keep.

    Raises:
        ObtransferError: no scores, NaN (names the layers), or a sparsity out of range.
    """
    fraction = parse_sparsity(sparsity)
    check_scores(scores)
    num_weights = sum(layer.size for layer in scores.values())
    masks = keep_masks(list(scores.values()), count_removed(fraction, num_weights))
    return dict(zip(scores, masks, strict=True))


def uniform(scores: Arrays, sparsity: str | float | Decimal) -> dict[str, np.ndarray]:
    """Remove (nearly) the same fraction of every layer.

    First ⌊q n_l⌋ of the n_l weights of layer l. Then one weight at a time, from the layer that would have the
    smallest sparsity afterwards, (removed + 1) / n_l, ties by layer in the order given, until ⌊q P⌋ are
    removed in all. Masks of growing sparsity are nested here too, and a layer of one weight is emptied last;
    giving the remainder to the largest fractional parts would not nest them.

    Arguments, returned value and errors as for `global_`.
    """
    fraction = parse_sparsity(sparsity)
    check_scores(scores)
    counts = uniform_counts({name: layer.size for name, layer in scores.items()}, fraction)
    return {name: keep_mask(layer, counts[name]) for name, layer in scores.items()}


def uniform_counts(sizes: Mapping[str, int], sparsity: Fraction) -> dict[str, int]:
    """How many weights `uniform` removes from each layer; they add up to ⌊q P⌋ exactly."""
    counts = {name: count_removed(sparsity, size) for name, size in sizes.items()}
    remainder = math.floor(sparsity * sum(sizes.values())) - sum(counts.values())
    for _ in range(remainder):
        next_layer = min(sizes, key=lambda name: Fraction(counts[name] + 1, sizes[name]))
        counts[next_layer] += 1
    return counts


def check_scores(scores: Arrays) -> None:
    """Refuse an empty set of scores, and NaN.

    Raises:
        ObtransferError: names the layers.
    """
    if not scores:
        raise ObtransferError("a mask needs the scores of at least one layer; got none")
    counts = {name: int(np.count_nonzero(np.isnan(layer))) for name, layer in scores.items()}
    named = [f"{name}: {count} of {scores[name].size}" for name, count in counts.items() if count]
    if named:
        raise ObtransferError(f"scores must not be NaN; got NaN in {'; '.join(named)}")
