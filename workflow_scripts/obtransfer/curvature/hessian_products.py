"""Products of the Hessian with vectors, by differentiating twice: for any network, without the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn.attention import SDPBackend, sdpa_kernel

from obtransfer.curvature.examples import Examples
from obtransfer.curvature.whole_loss import Weights, gradients, visit_losses
from obtransfer.errors import ObtransferError


def hessian_products(
    add: Callable[[str, Tensor, Tensor], None],
    examples: Examples,
    weights: Weights,
    vectors: Callable[[int], Weights],
    num_vectors: int = 1,
) -> int:
    """Call `add(name, v, Σ_n ∇²ℓ_n v)` for every batch, vector v and weight; return the number of examples.

    ∇² is by `weights` alone. Trap: what is added is a sum over the batch's examples, so the mean is the caller's
    division by what is returned.

    Source: Pearlmutter, *Fast exact multiplication by the Hessian*, 1994, here by double backward.
    Cost: per batch one forward and one differentiable backward pass, and per vector a backward pass through
    both (about two forward and backward passes). Memory: the graph of a batch's forward and backward passes,
    one vector and one product. Fused attention, which has no second derivative, is off meanwhile.

    Args:
        add: (name, vector, product), both of the parameter's shape; must not keep the product.
        examples: gone through once.
        weights: name to parameter.
        vectors: index -> the vector, by name, the same each time; called for every batch.
        num_vectors: how many there are.

    Raises:
        ObtransferError: as `visit_losses`, weights that the loss does not depend on, or an operation of the
            model that cannot be differentiated twice.
    """

    def visit(total: Tensor) -> None:
        first = gradients(total, weights, again=True)
        _refuse_without_second_derivative(first.values())
        for index in range(num_vectors):
            vector = {name: v.detach().to(first[name]) for name, v in vectors(index).items()}
            # A scalar rather than `grad_outputs=vector`, which imports sympy (2 to 5 s).
            slope = torch.stack([(first[name] * vector[name]).sum() for name in weights]).sum()
            again = index < num_vectors - 1
            products = torch.autograd.grad(
                slope, list(weights.values()), retain_graph=again, materialize_grads=True
            )
            for name, product in zip(weights, products, strict=True):
                add(name, vector[name], product)

    with fused_attention_off():
        return visit_losses(visit, examples, weights)


@contextmanager
def fused_attention_off() -> Iterator[None]:
    """Compute attention by matrix products and a softmax, for any model, until the end of the block.

    torch's switch reaches every caller of `scaled_dot_product_attention`; a flag of timm's modules would not.
    """
    with sdpa_kernel(SDPBackend.MATH):
        yield


def _refuse_without_second_derivative(gradients: Iterable[Tensor]) -> None:
    """
    Raises:
        ObtransferError: the gradient went through an operation that has no second derivative. Autograd itself
            says nothing where such an operation only cuts the way from the gradient back to the weights.
    """
    seen: set[Node] = set()
    waiting = [gradient.grad_fn for gradient in gradients]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() in ("torch::autograd::Error", "torch::autograd::NotImplemented"):
            raise ObtransferError(
                "the Hessian needs operations that can be differentiated twice; got one that cannot (fused, or written "
                "with once_differentiable); replace it, or use an estimator of first derivatives, such as ggn"
            )
        seen.add(node)
        waiting.extend(following for following, _ in node.next_functions)
