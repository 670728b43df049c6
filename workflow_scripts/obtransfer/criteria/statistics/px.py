"""`px`: Path eXclusion, how much of the network's path kernel goes through each weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from obtransfer.criteria.statistics.path_networks import Gates, Paths, refuse_what_has_no_paths
from obtransfer.curvature.checks import finite, fitting_head, some_examples
from obtransfer.curvature.weights import selected_weights
from obtransfer.curvature.whole_loss import Progress, gradients
from obtransfer.errors import ObtransferError
from obtransfer.models.contexts import evaluation_mode

_SMALL = 2.0**-40


def accumulate(
    model: nn.Module,
    head_weight: Tensor,
    head_bias: Tensor,
    batches: Iterable[Sequence[Tensor]],
    *,
    loss: str = "squared_error",
    num_probes: int = 100,
    seed: int = 0,
    first: Mapping[str, Tensor] | None = None,
    parameters: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float64,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
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
    batches; here the formula is taken by its word.

    Source: Iurada, Ciccone, Tommasi, *Finding lottery tickets in vision models via data-driven spectral
    foresight pruning*, CVPR 2024. Cost: one pass over the data, of the network and once more in
    float64, and one backward pass of one image. Memory: one batch's forward pass in float64, one byte for
    each output of its ReLUs, and about five times the weights' own size in float32.

    Args:
        model: images [B, 3, H, W] -> features [B, D]; left bit-identical.
        head_weight: [K, D].
        head_bias: [K]; only its shape is read.
        batches: (images [B, 3, H, W], ...), all of one shape; labels are not read.
        loss: not read, as are `num_probes`, `seed`, `first` and `dtype`.
        parameters: names of Conv2d and Linear weights; None for all of them.
        progress: called after each batch with the number of examples done so far.

    Returns:
        Parameter name -> float64 tensor of the parameter's shape, >= 0.

    Raises:
        ObtransferError: operations without paths, listed by module; images of several shapes, no examples, a
            head that does not fit, or values beyond float64.
    """
    weights = selected_weights(model, parameters)
    device = next(iter(weights.values())).device
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(model, []):
        network = _Network(model, head_weight.to(device), head_bias.to(device))
        total, done = torch.zeros((), dtype=torch.float64, device=device), 0
        for images, *_ in batches:
            if len(images):
                total = total + network.data_factor(images.to(device)).sum(dim=0)
                done += len(images)
                if progress is not None:
                    progress(done)
        some_examples(done)
        found = network.derivatives(total / done, weights)
    finite(found)
    return found


class _Network:
    """The two auxiliary networks of one model and head.

    Args:
        model: in evaluation mode.
        head_weight: [K, D].
        head_bias: [K].
    """

    def __init__(self, model: nn.Module, head_weight: Tensor, head_bias: Tensor) -> None:
        self.model, self.head = model, (head_weight, head_bias)
        layers = selected_weights(model, None)
        self.names = {id(weight): name for name, weight in layers.items()}
        self.squares = {name: weight.detach().double().square() for name, weight in layers.items()}
        self.shape: torch.Size | None = None

    def data_factor(self, images: Tensor) -> Tensor:
        """z1 [B, K] of images [B, C, H, W]."""
        self._check(images)
        with Gates() as gates:
            self.model(images)
        squares = images.double().square()
        with Paths(_ones, None, gates.found):
            features = self.model(squares)
        weight, _ = fitting_head(features, *self.head)
        return features @ _ones(weight).T

    def derivatives(self, data_factor: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """∂(Σ_k z1_k z2_k)/∂(w²) for z1 [K]."""
        leaves = {name: self.squares[name].requires_grad_() for name in weights}
        with torch.enable_grad():
            features = self._weight_factor(1.0)
            weight, _ = fitting_head(features, *self.head)
            return gradients((features @ weight.square().T @ data_factor).sum(), leaves)

    def _weight_factor(self, value: float) -> Tensor:
        """The features [1, D] of z2, given `value` at all inputs instead of 1."""
        assert self.shape is not None
        device = next(iter(self.squares.values())).device
        images = torch.full((1, *self.shape), value, dtype=torch.float64, device=device)
        with Paths(lambda weight: self.squares[self.names[id(weight)]], torch.square, None):
            features: Tensor = self.model(images)
        return features

    def _check(self, images: Tensor) -> None:
        """
        Raises:
            ObtransferError: another shape than before, or, the first time, a network without paths.
        """
        if self.shape is None:
            self.shape = images.shape[1:]
            refuse_what_has_no_paths(self.model, images[:1], self.names)
            # What torch's modes do not see (compiled or custom functions) is seen by what it does.
            one, small = self._weight_factor(1.0), self._weight_factor(_SMALL)
            if not torch.allclose(small / _SMALL, one, rtol=1e-6, atol=0.0, equal_nan=True):
                raise ObtransferError(
                    "px is defined for positively homogeneous networks only, and this one is not, for a "
                    "reason that its modules and functions do not show: a constant that is added, or a "
                    "compiled function"
                )
        if images.shape[1:] != self.shape:
            raise ObtransferError(
                f"px needs images of one shape; got {list(images.shape[1:])} after {list(self.shape)}"
            )


def _ones(weight: Tensor) -> Tensor:
    return (weight != 0).double()
