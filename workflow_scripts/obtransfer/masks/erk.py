"""Allocation `erk`: dense where a layer is small, sparse where it is large."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.masks.allocation import check_scores
from obtransfer.masks.sparsity import count_removed, parse_sparsity
from obtransfer.masks.topk import keep_mask

_GRID = 40
"""The search for ε has steps of 2⁻⁴⁰."""


def erk(scores: Arrays, sparsity: str | float | Decimal) -> dict[str, np.ndarray]:
    """Remove the lowest scores of every layer, to the densities of the Erdős-Rényi kernel.

    The density of layer l is min(1, ε s_l / n_l), with the sum s_l and the product n_l of its dimensions: ε times
    (O + I) / (O I) for Linear and (O + I + kh + kw) / (O I kh kw) for Conv2d. One ε for all layers makes the total
    right. Layer l keeps ⌈ε s_l⌉ weights, with the smallest ε at which ⌊q P⌋ are removed in all, ties to the later
    layer. This is a divisor method: masks of growing sparsity are nested, and small layers are emptied last, as in
    `uniform`. The trap: rounding every layer by itself misses the total.

    Source: Evci et al., *Rigging the lottery: making all tickets winners*, 2020, sec. 3.

    Arguments, returned value and errors as for `global_`.
    """
    fraction = parse_sparsity(sparsity)
    check_scores(scores)
    counts = erk_counts({name: layer.shape for name, layer in scores.items()}, fraction)
    return {name: keep_mask(layer, counts[name]) for name, layer in scores.items()}


def erk_counts(shapes: Mapping[str, tuple[int, ...]], sparsity: Fraction) -> dict[str, int]:
    """How many weights `erk` removes from each layer; they add up to ⌊q P⌋ exactly."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    sums = {name: sum(shape) for name, shape in shapes.items()}
    total = sum(sizes.values())
    wanted = total - count_removed(sparsity, total)

    def kept(scale: Fraction) -> dict[str, int]:
        return {name: min(sizes[name], math.ceil(scale * sums[name])) for name in sizes}

    # Weight number j of layer l (from 1) is kept where ε > (j - 1) / s_l. Find on a grid the last ε before the
    # total is too high, then keep the few weights that are missing in the order of their own ε.
    low, high = 0, max(-(-sizes[name] // sums[name]) for name in sizes) << _GRID
    while high - low > 1:
        middle = (low + high) // 2
        if sum(kept(Fraction(middle, 1 << _GRID)).values()) <= wanted:
            low = middle
        else:
            high = middle
    counts = kept(Fraction(low, 1 << _GRID))
    order = {name: -position for position, name in enumerate(sizes)}
    waiting = [(Fraction(counts[n], sums[n]), order[n], n) for n in sizes if counts[n] < sizes[n]]
    heapq.heapify(waiting)
    for _ in range(wanted - sum(counts.values())):
        _, _, name = heapq.heappop(waiting)
        counts[name] += 1
        if counts[name] < sizes[name]:
            heapq.heappush(waiting, (Fraction(counts[name], sums[name]), order[name], name))
    return {name: sizes[name] - counts[name] for name in sizes}
