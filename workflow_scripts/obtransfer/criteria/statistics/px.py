"""`px`: Path eXclusion, how much of the network's path kernel goes through each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obtransfer.curvature.estimators.base import Estimator

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.examples import Examples


def px(examples: Examples) -> dict[str, Tensor]:
    """∂R/∂(w²) with R = 1/N Σ_n Σ_k z1_k(x_n) z2_k: how strongly the paths through a weight are used.

    The output k is a sum over the paths p that lead to it of a_p(x) x_p v_p, with v_p the product of the
    weights on the path and a_p = 1 where all its ReLUs are open in the real network. z1_k = Σ_p a_p(x)² x_p²
    is its squared derivative by the v_p, and z2_k = Σ_p v_p². Without biases, ∂R/∂(w²) bounds 1/N Σ_n Σ_k
    (∂f_k/∂w)², the diagonal of `ggn`, weight by weight where w is not 0, and its sum the
    trace of the neural tangent kernel.

    z1 is a network with 1 for every weight that is not 0, BatchNorm as the identity and the real network's
    gates, given x²; z2 one with squared weights, (γ/σ)² for BatchNorm and no activations, given ones. Nothing
    is added in either, and both end with the head: 1 where it is not 0, and its squares.

    Trap: pooling acts on the values of these two networks themselves, so a maximum may be at another place
    than in the real network, and an average has its 1/n in both. Both grow with the product of all fan-ins
    and leave float32's range: all is done and returned in float64. The authors' public code leaves BatchNorm
    (with the batch's own statistics) and head in both networks as they are, so that its scores depend on the
    batches; here the formula is computed as the paper states it.

    Source: Iurada, Ciccone, Tommasi, *Finding lottery tickets in vision models via data-driven spectral
    foresight pruning*, CVPR 2024. Cost: one pass over the data, of the network and once more in
    float64, and one backward pass of one image. Memory: one batch's forward pass in float64, one byte for
    each output of its ReLUs, and about five times the weights' own size in float32.

    Args:
        examples: gone through once; all images of one shape. Labels, loss, dtype and the head's bias are not read.

    Returns:
        Parameter name -> float64 tensor of the parameter's shape, >= 0.

    Raises:
        ObtransferError: operations without paths, listed by module; images of several shapes, no examples, a
            head that does not fit, or values beyond float64.
    """
    import torch

    from obtransfer.criteria.statistics.path_networks import PathNetworks
    from obtransfer.curvature.checks import finite, some_examples
    from obtransfer.curvature.whole_loss import selected_weights
    from obtransfer.models.contexts import evaluation_mode

    weights = selected_weights(examples)
    device = next(iter(weights.values())).device
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(examples.model, []):
        network = PathNetworks(examples)
        total, done = torch.zeros((), dtype=torch.float64, device=device), 0
        for images, *_ in examples.batches:
            if len(images):
                total = total + network.data_factor(images.to(device)).sum(dim=0)
                done += len(images)
                examples.progress(done)
        some_examples(done)
        found = network.derivatives(total / done, weights)
    finite(found)
    return found


ESTIMATOR = Estimator("path exclusion", px, fills=("per_weight",), loss=False)
