"""Statistics of a model and examples: second derivatives of the loss, and whatever else criteria read.

There is one file per estimator and per structure. `compute_statistic` works for any network; steps of the workflow use
`statistic`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def compute_statistic(
    model: nn.Module,
    head: Any,
    loader: Iterable[Sequence[Tensor]],
    estimator: str = "ggn",
    structure: str = "diagonal",
    *,
    seed: int = 0,
    parameters: Sequence[str] | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """A statistic of any network, such as the diagonal of its generalised Gauss-Newton matrix, as a mean over examples.

    A statistic that it builds on (`kfac` for `ekfac`, the gradient for `hessian_gradient`) is computed first, with a
    pass over the data of its own. For definitions, cost and shapes see `obtransfer.curvature.compute.compute_curvature`
    and the estimators' docstrings. The arguments are those of a `Request`, beside the model and its data.

    Args:
        model: images -> features [B, D], on any device; left as it was, in evaluation mode meanwhile.
        head: an object with `weight` [K, D] and `bias` [K], such as an `nn.Linear`; None where the model returns the
            logits [B, K].
        loader: (images [B, ...], labels [B], ...), as a DataLoader gives them.
        estimator: ggn, mc_fisher, empirical_fisher, hessian, gradient, hessian_gradient, synflow, px.
        structure: diagonal, block16 (any size), blockrow, kfac, ekfac; per_weight from gradient on in that list.
        seed: of estimators that draw.
        parameters: names of Conv2d and Linear weights; None for all of them.
        options: the estimator's settings: `loss`, `num_samples`, `num_probes`.

    Returns:
        Parameter name -> tensor on the model's device.

    Raises:
        ObtransferError: names or settings that do not exist, or what the network or the data do not allow.
    """
    import torch

    from obtransfer.curvature.compute import compute_curvature
    from obtransfer.curvature.examples import Head
    from obtransfer.curvature.request import Request

    named = None if parameters is None else tuple(parameters)
    request = Request(estimator, structure, options, seed, named)
    own = head and Head(*(torch.as_tensor(values) for values in (head.weight, head.bias)))
    return compute_curvature(model, own, loader, request)
