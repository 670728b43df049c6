"""Structure `diagonal`: h_j = H_jj, in the parameter's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from obtransfer.curvature.structures.base import Structure, Sum

if TYPE_CHECKING:
    from torch import Tensor


def start(zeros: Mapping[str, Tensor]) -> Sum:
    """Squares of per-example gradients go to the one tensor."""
    from obtransfer.curvature.per_example.diagonal_kernel import add

    return Sum(zeros[""], add)


STRUCTURE = Structure("diagonal", {"": ""}, start=start)
