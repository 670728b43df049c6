"""Structure `kfac`: one Kronecker product per layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import doc

from obtransfer.curvature.structures.base import Structure

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.per_example.operands import Operands

FLOATS_AT_ONCE = 2**22
"""Entries that are copied at once to bring all positions of several examples together: 16 MiB in float32."""


@dataclass(frozen=True)
class Kfac:
    """H ≈ A ⊗ Γ: the second moments of a layer's inputs and of its output gradients, G of each.

    A = 1/N Σ_n 1/T_n Σ_t a_nt a_ntᵀ and Γ = 1/N Σ_n Σ_s Σ_t d_nst d_nstᵀ, with T_n positions t of example n
    (pixels of a convolution's output, tokens, several uses of the layer), input activations a and output
    gradients d: the *expand* convention. Row-major weights [O, I'] make the layer's matrix Γ ⊗ A in the order of
    `torch.kron`. Exact for one position per example where d does not depend on the example (a deep linear
    network, `ggn`, squared error).

    Trap: the mean over positions belongs to A alone; taken in both, H shrinks by T.

    Source: Martens and Grosse, *Optimizing neural networks with Kronecker-factored approximate curvature*, 2015,
    sec. 3; Grosse and Martens, *A Kronecker-factored approximate Fisher matrix for convolution layers*, 2016,
    sec. 3; Eschenhagen et al., *Kronecker-factored approximate curvature for modern neural network
    architectures*, 2023, sec. 3.

    Args:
        inputs: N A [G, I', I'], added to.
        outputs: N Γ [G, O, O], added to.
    """

    inputs: Tensor
    outputs: Tensor

    def prepare(self, activations: Tensor) -> Tensor:
        """Unchanged."""
        return activations

    def add(self, operands: Operands, vector: int) -> None:
        """Inputs are the same for all vectors, so they count with the first one only."""
        if vector == 0:
            add_second_moment(self.inputs, operands.activations, 1 / operands.activations.shape[-1])
        add_second_moment(self.outputs, operands.gradients, 1.0)


def add_second_moment(total: Tensor, values: Tensor, factor: float) -> None:
    """Add factor · Σ_n Σ_t x_nt x_ntᵀ in place.

    Args:
        total: [G, C, C], changed.
        values: x [B, G, C, L].
        factor: one number.
    """
    size, groups, channels, positions = values.shape
    step = max(1, FLOATS_AT_ONCE // (groups * channels * positions))
    for start in range(0, size, step):
        part = values[start : start + step]
        if part.stride(-1) == 1:  # whole rows of positions are copied
            columns = part.permute(1, 2, 0, 3).flatten(2)
        else:  # tokens, mostly: no copy at all
            columns = part.permute(1, 0, 3, 2).flatten(1, 2).transpose(1, 2)
        total.baddbmm_(columns, columns.transpose(1, 2), alpha=factor)


def spell(*, eigenvalue_correction: Annotated[bool, doc("EK-FAC instead of K-FAC")] = False) -> str:
    """``kfac``, or ``ekfac``, which is a structure of its own."""
    return "ekfac" if eigenvalue_correction else "kfac"


def start(zeros: Mapping[str, Tensor]) -> Kfac:
    """Both factors grow together."""
    return Kfac(zeros[":inputs"], zeros[":outputs"])


STRUCTURE = Structure(
    "kfac",
    {":inputs": "GII", ":outputs": "GOO"},
    start=start,
    inputs_once=True,
    spell=spell,
)
