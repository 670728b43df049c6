"""Sparsity as an exact decimal number."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from obtransfer.errors import ObtransferError


def parse_sparsity(sparsity: str | float | Decimal) -> Fraction:
    """Read the fraction of weights to remove as the decimal that was written, not its binary neighbour.

    Raises:
        ObtransferError: not a number in [0, 1).
    """
    try:
        exact = Decimal(str(sparsity))
    except InvalidOperation:
        exact = Decimal("NaN")
    if not exact.is_finite() or not 0 <= exact < 1:
        raise ObtransferError(
            f"sparsity, the fraction of weights to remove, must be at least 0 and less than 1; got {sparsity!r}"
        )
    return Fraction(exact)


def count_removed(sparsity: Fraction, num_weights: int) -> int:
    """⌊q P⌋, exactly: in floating point, 0.29 · 100 is less than 29."""
    return math.floor(sparsity * num_weights)
