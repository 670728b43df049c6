"""Structure `ekfac`: Kronecker eigenbases with the second moments along them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obtransfer.curvature.structures.base import Structure
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.per_example.operands import Operands


@dataclass
class Ekfac:
    """H ≈ (Q_Γ ⊗ Q_A) diag(λ) (Q_Γ ⊗ Q_A)ᵀ with λ = 1/N Σ_n Σ_s ((Q_Γᵀ g_ns Q_A))², [O, I'] like g.

    Q_A and Q_Γ hold the eigenvectors of K-FAC's A and Γ in their columns. λ is the diagonal of the exact matrix in
    that basis, so no other diagonal there is nearer to it, and `kfac`'s is one of those. Cost: that of `diagonal`
    and rotations, of the operands where a layer has few positions, of per-example gradients where it has many.

    Trap: λ belongs to its bases. Sums of other examples may be added only if they were made in the same ones.

    Source: George et al., *Fast approximate natural gradient descent in a Kronecker-factored eigenbasis*, 2018,
    sec. 3.

    Args:
        input_basis: Q_A [G, I', I'].
        output_basis: Q_Γ [G, O, O].
        eigenvalues: N λ [G, O, I'], added to.
    """

    input_basis: Tensor
    output_basis: Tensor
    eigenvalues: Tensor
    by_operands: bool | None = field(default=None, init=False)

    def prepare(self, activations: Tensor) -> Tensor:
        """Q_Aᵀ a, where rotating it is less work than rotating the gradients; the first use decides for all."""
        if self.by_operands is None:
            self.by_operands = rotates_operands(activations.shape[-1], *self.eigenvalues.shape[1:])
        return self.input_basis.mT @ activations if self.by_operands else activations

    def add(self, operands: Operands, vector: int) -> None:
        """Add the squares of the rotated per-example gradients; activations are those `prepare` made."""
        from obtransfer.curvature.per_example.diagonal_kernel import FLOATS_AT_ONCE, add
        from obtransfer.curvature.per_example.operands import example_gradients

        half_rotated = operands._replace(gradients=self.output_basis.mT @ operands.gradients)
        if self.by_operands:
            add(self.eigenvalues, half_rotated)
            return
        gradients = half_rotated.gradients
        examples = max(1, FLOATS_AT_ONCE // self.eigenvalues.numel())
        for start in range(0, len(gradients), examples):
            rotated = example_gradients(half_rotated.of_examples(start, start + examples)) @ self.input_basis
            self.eigenvalues.add_(rotated.square_().sum(dim=0))


def rotates_operands(positions: int, outputs: int, inputs: int) -> bool:
    """Whether rotating both operands of a layer is less work than rotating their product."""
    return positions * (inputs**2 + outputs**2) <= outputs * inputs * (outputs + inputs)


def fill(tensors: Mapping[str, Tensor], name: str, prior: Mapping[str, Tensor]) -> None:
    """Write a layer's eigenbases, computed in float64, into its tensors.

    Args:
        tensors: with ":input_basis" [G, I', I'] and ":output_basis" [G, O, O], changed.
        name: of the parameter.
        prior: a `kfac` statistic of the layer by the same estimator.

    Raises:
        ObtransferError: factors that are missing, of another shape or not finite.
    """
    import torch

    from obtransfer.curvature.checks import finite

    for side in ("input", "output"):
        key, basis = f"{name}:{side}s", tensors[f":{side}_basis"]
        if key not in prior or prior[key].shape != basis.shape:
            found = f"shape {tuple(prior[key].shape)}" if key in prior else "none"
            raise ObtransferError(
                f"ekfac needs `prior`, the kfac statistic of the same layers: {key} of shape {tuple(basis.shape)}; got "
                f"{found}; compute kfac of this model first"
            )
        finite({key: prior[key]})
        basis.copy_(_eigenvectors(prior[key].to(basis.device, torch.float64)))


def _eigenvectors(matrices: Tensor) -> Tensor:
    """In columns, by ascending eigenvalue; the largest entry of each is positive."""
    from torch import linalg

    vectors: Tensor = linalg.eigh((matrices + matrices.mT) / 2).eigenvectors
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


def start(tensors: Mapping[str, Tensor]) -> Ekfac:
    """The bases are filled, the eigenvalues zeros."""
    return Ekfac(tensors[":input_basis"], tensors[":output_basis"], tensors[":eigenvalues"])


STRUCTURE = Structure(
    "ekfac",
    {":input_basis": "GII", ":output_basis": "GOO", ":eigenvalues": "GOI"},
    start=start,
    constant=(":input_basis", ":output_basis"),
    fill=fill,
    prior="kfac",
)
