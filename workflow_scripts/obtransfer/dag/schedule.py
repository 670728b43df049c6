"""Schedules: how the sparsity grows over the rounds of iterative pruning."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from itertools import pairwise

from obtransfer.errors import ObtransferError
from obtransfer.masks.sparsity import parse_sparsity

_EXACT = Context(prec=60)
DECIMALS = 9
"""Of intermediate sparsities; finer than one weight of a network of a billion."""


def _exponential(sparsity: Decimal, done: Decimal) -> Decimal:
    return 1 - (1 - sparsity) ** done


def _linear(sparsity: Decimal, done: Decimal) -> Decimal:
    return sparsity * done


def _cubic(sparsity: Decimal, done: Decimal) -> Decimal:
    return sparsity * (1 - (1 - done) ** 3)


SCHEDULES: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "exponential": _exponential,
    "linear": _linear,
    "cubic": _cubic,
}


def sparsities(sparsity: str, rounds: int, schedule: str = "exponential") -> list[str]:
    """The sparsity after each of R rounds, growing up to q.

    After round r: exponential 1 − (1 − q)^(r/R), which removes the same fraction of the survivors every time;
    linear q r/R; cubic q (1 − (1 − r/R)³), which removes most at first. The trap: SynFlow's formula gives
    densities. Read as a sparsity, it keeps what should be removed. Intermediate values are rounded to
    nine decimals, or to as many more as keep them apart.

    Source: exponential Tanaka et al. (2020), alg. 1; cubic Zhu, Gupta (2017), eq. 1.

    Args:
        sparsity: q in (0, 1), or 0 in one round.
        rounds: R >= 1.
        schedule: one of `SCHEDULES`.

    Returns:
        R decimal numbers as text, without exponent, strictly increasing; the last is q as it was given.

    Raises:
        ObtransferError: an unknown schedule, no rounds, several rounds to a sparsity of 0, or q out of range.
    """
    if schedule not in SCHEDULES:
        raise ObtransferError(f"the schedule must be one of {', '.join(SCHEDULES)}; got {schedule!r}")
    if rounds < 1 or (rounds > 1 and not parse_sparsity(sparsity)):
        raise ObtransferError(
            f"rounds must be at least 1, and exactly 1 for a sparsity of 0; got {rounds} rounds to a sparsity of {sparsity}"
        )
    parse_sparsity(sparsity)
    last = Decimal(str(sparsity))
    with localcontext(_EXACT):
        exact = [SCHEDULES[schedule](last, Decimal(done) / rounds) for done in range(1, rounds)]
        return [_text(value) for value in _rounded(exact, last)] + [str(sparsity)]


def _rounded(values: list[Decimal], last: Decimal) -> list[Decimal]:
    """To the fewest decimals, at least `DECIMALS`, at which 0, the values and the last strictly increase."""
    decimals = DECIMALS
    while True:
        found = [value.quantize(Decimal(1).scaleb(-decimals)) for value in values]
        if not found or all(low < high for low, high in pairwise([Decimal(0), *found, last])):
            return found
        decimals += 3


def _text(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
