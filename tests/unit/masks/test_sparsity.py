"""Sparsity as a decimal number."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.errors import ObtransferError
from obtransfer.masks.sparsity import count_removed, parse_sparsity


@pytest.mark.parametrize(
    "sparsity", ["0.29", 0.29, Decimal("0.29"), np.float64(0.29), np.float32(0.29), "0.290"]
)
def test_the_written_decimal_counts(sparsity):
    assert math.floor(0.29 * 100) == 28  # what floating point says
    assert count_removed(parse_sparsity(sparsity), 100) == 29


@pytest.mark.parametrize(
    ("sparsity", "size", "expected"), [(0.7, 10, 7), ("0.999", 1000, 999), (0, 5, 0), ("0", 5, 0)]
)
def test_counts(sparsity, size, expected):
    assert count_removed(parse_sparsity(sparsity), size) == expected


@settings(deadline=None)
@given(st.integers(0, 9999), st.integers(1, 10**9))
def test_counts_are_integer_arithmetic(ten_thousandths, size):
    text = f"0.{ten_thousandths:04d}"
    assert count_removed(parse_sparsity(text), size) == ten_thousandths * size // 10_000
    assert parse_sparsity(float(text)) == Fraction(ten_thousandths, 10_000)


@pytest.mark.parametrize("sparsity", [1, 1.0, "1", -0.1, "70%", "", float("nan"), "inf", True, False, None])
def test_what_is_not_in_range_is_refused(sparsity):
    with pytest.raises(ObtransferError, match="at least 0 and less than 1; got"):
        parse_sparsity(sparsity)
