"""Curvature of the loss of a model with a frozen linear head: the way into this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from obtransfer.curvature.checks import accumulation_dtype, known
from obtransfer.curvature.per_example.groups import Kept, statistics_of_groups
from obtransfer.curvature.per_example.passes import Data, OutputVectors
from obtransfer.curvature.plan import plan
from obtransfer.curvature.structures.base import STRUCTURES, BlockSize
from obtransfer.errors import ObtransferError
from obtransfer.registry import ESTIMATORS, LOSSES, resolve


def compute_curvature(
    model: nn.Module,
    head_weight: Tensor,
    head_bias: Tensor,
    batches: Iterable[Sequence[Tensor]],
    *,
    estimator: str,
    structure: str,
    block_size: BlockSize = 16,
    loss: str = "squared_error",
    num_samples: int = 1,
    seed: int = 0,
    first_index: int = 0,
    parameters: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    memory_limit: int | None = None,
    factors: Mapping[str, Tensor] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Estimate parts of H = ∇² 1/N Σ_n ℓ(f(x_n), y_n) with f = φ(x; w) Wᵀ + b, layer by layer.

    The estimator gives vectors v_s of the outputs, and H = 1/N Σ_n Σ_s (J_nᵀ v_s)(J_nᵀ v_s)ᵀ with J_n =
    ∂f(x_n)/∂w: a mean over examples of per-example outer products. ℓ is ½ ‖f − onehot(y)‖² or −log softmax(f)_y.
    The result does not depend on batch size, order, `memory_limit` or training mode beyond rounding. BatchNorm is
    in evaluation mode; the model comes back as it was.

    Trap: the mean is over examples, not over classes, and the squared error has a ½: damping and scores carry over
    only between the same conventions.

    Source: METHODS "Curvature". Cost: one forward pass over the data and one backward pass per vector (1 for
    `empirical_fisher`, S for `mc_fisher`, K for `ggn`), without weight gradients, per pass of the plan; memory: one
    batch's graph, the statistics (`obtransfer.curvature.plan`), a few MiB of per-example gradients, and for
    several vectors up to 1 GiB of unfolded activations.

    Args:
        model: images [B, 3, H, W] -> features [B, D]; left bit-identical.
        head_weight: W [K, D].
        head_bias: b [K].
        batches: (images [B, 3, H, W], labels [B]) or (images, labels, indices [B]); moved to the model's device. Where
            the plan has several passes: something that can be gone through again, not an iterator.
        estimator: a key of `obtransfer.registry.ESTIMATORS` that is made of vectors of the outputs.
        structure: `diagonal`, `block`, `kfac` or `ekfac`.
        block_size: B, used by `block`; "row": all weights of one output of the layer.
        loss: a key of `obtransfer.registry.LOSSES`.
        num_samples: S, used by `mc_fisher`.
        seed: used by `mc_fisher`.
        first_index: index of the first example where batches bring no indices; they number the draws.
        parameters: names of Conv2d and Linear weights; None for all of them.
        dtype: accumulate in this, float32, or the parameter's, whichever is most precise.
        memory_limit: bytes of statistics that may be on the model's device at once; None for no limit.
        factors: for `ekfac`, a `kfac` statistic of these layers, by the same estimator.
        progress: called after each batch with the number of examples done so far, over all passes.

    Returns:
        On the model's device, or on the CPU where a memory limit was given, under the parameter's name:
        `diagonal`: the parameter's shape, >= 0; `block`: [ceil(n/B), B, B], symmetric, zero-padded; `kfac`: under
        NAME:inputs [G, I', I'] and NAME:outputs [G, O, O]; `ekfac`: under NAME:input_basis, NAME:output_basis and
        NAME:eigenvalues [G, O, I'] >= 0.

    Raises:
        ObtransferError: unknown names, block sizes that do not fit, a layer that cannot be treated, statistics
            above the memory limit, factors or a head that do not fit, labels out of range where they are read, no
            examples, or statistics that are not finite.
    """
    groups = compute_in_groups(
        model,
        head_weight,
        head_bias,
        batches,
        estimator=estimator,
        structure=structure,
        block_size=block_size,
        loss=loss,
        num_samples=num_samples,
        seed=seed,
        first_index=first_index,
        parameters=parameters,
        dtype=dtype,
        memory_limit=memory_limit,
        factors=factors,
        progress=progress,
    )
    found: dict[str, Tensor] = {}
    for group in groups:
        found |= group if memory_limit is None else {name: tensor.cpu() for name, tensor in group.items()}
        del group  # or it would still be there while the next one grows
    return found


def compute_in_groups(
    model: nn.Module,
    head_weight: Tensor,
    head_bias: Tensor,
    batches: Iterable[Sequence[Tensor]],
    *,
    estimator: str,
    structure: str,
    block_size: BlockSize = 16,
    loss: str = "squared_error",
    num_samples: int = 1,
    seed: int = 0,
    first_index: int = 0,
    parameters: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    memory_limit: int | None = None,
    factors: Mapping[str, Tensor] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """As `compute_curvature`, one group of the plan after the other, so that each can be written and forgotten.

    Wrong arguments raise at once, not when the first group is asked for. Between groups the model is as it was.

    Trap: a loop's variable still holds a group while the next one grows: `del` it at the end of the loop's body, or
    memory is that of two groups.

    Returns:
        What `compute_curvature` returns for the layers of each of the plan's groups, on the model's device.
    """
    vectors = _output_vectors(estimator)
    criterion = resolve(known(loss, LOSSES, "loss"))
    if structure == "ekfac" and factors is None:
        raise ObtransferError(
            "ekfac needs `factors`, the kfac statistic of the same layers and estimator; got none"
        )
    planned = plan(model, structure, block_size, dtype, parameters, memory_limit)
    if planned.passes > 1 and isinstance(batches, Iterator):
        raise ObtransferError(
            f"curvature within {memory_limit} bytes takes {planned.passes} passes over the data, but `batches` is an "
            "iterator, which is used up after one: give a list, a DataLoader or an object with __iter__"
        )
    data = Data(model, head_weight, head_bias, batches, vectors, criterion, num_samples, seed, first_index)
    dtype = accumulation_dtype(dtype, {name: model.get_parameter(name) for name in planned.bytes_by_layer})
    kept = Kept(STRUCTURES[structure], block_size if structure == "block" else 1, dtype, factors or {})
    return statistics_of_groups(data, kept, planned.groups, progress or (lambda done: None))


def _output_vectors(estimator: str) -> OutputVectors:
    made_of_vectors = {n: e.compute for n, e in ESTIMATORS.items() if e.compute.endswith(":output_vectors")}
    if estimator in ESTIMATORS and estimator not in made_of_vectors:
        raise ObtransferError(
            f"curvature estimator {estimator!r} is not made of vectors of the outputs: call the `accumulate` of "
            f"its module; those that are: {', '.join(made_of_vectors)}"
        )
    found: OutputVectors = resolve(known(estimator, made_of_vectors, "estimator"))
    return found
