"""Weights removed in rounds: statistics and scores are computed anew on what the round before has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from obtransfer.artifacts import read_tensors, write_tensors
from obtransfer.criteria.restrict import restrict
from obtransfer.criteria.base import Scores
from obtransfer.errors import ObtransferError
from obtransfer.masks.packing import pack, unpack
from obtransfer.masks.statistics import collapsed_layers

if TYPE_CHECKING:
    from torch import nn

Layers = Mapping[str, np.ndarray]
Allocate = Callable[[Layers, str], dict[str, np.ndarray]]


def score_survivors(
    score: Callable[..., Scores],
    weights: Layers,
    statistics: Layers | None,
    mask: Layers,
    structure: str,
    **options: Any,
) -> Scores:
    """Scores of a model some of whose weights are removed: these have −∞, so that they stay removed.

    Args:
        score: the criterion.
        weights: name to array, dense or with the removed weights at zero; not changed.
        statistics: of the masked model, or None.
        mask: name to bool array, True = keep.
        structure: of the statistics.
        options: of the criterion.

    Raises:
        ObtransferError: a surviving weight without a finite score, or what the criterion refuses.
    """
    left = {name: np.where(mask[name], weight, 0) for name, weight in weights.items()}
    found = score(left, statistics and restrict(statistics, mask, structure), **options)
    broken = {name: int((~np.isfinite(found.scores[name][mask[name]])).sum()) for name in weights}
    if any(broken.values()):
        named = ", ".join(f"{name}: {count}" for name, count in broken.items() if count)
        raise ObtransferError(
            f"scores of surviving weights must be finite, but NaN or infinity was found in {named}"
        )
    return Scores({name: np.where(mask[name], s, -np.inf) for name, s in found.scores.items()}, found.details)


def score_in_rounds(
    model: nn.Module,
    weights: Layers,
    sparsities: Sequence[str],
    *,
    statistic: Callable[[nn.Module], Layers | None],
    score: Callable[[Layers, Layers | None, Layers], Scores],
    allocate: Allocate,
    checkpoint: Path,
    identity: Mapping[str, Any],
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Go through the rounds and return the scores of the last, from which its mask is made as any other.

    Trap: a layer may lose all its weights on the way, and the network then passes nothing on; the details say which
    layers did and in which round.

    Source: Tanaka et al., *Pruning neural networks without any data by iteratively conserving synaptic flow*, 2020,
    algorithm 1; the densities are those of `masks.schedule`.

    Args:
        model: has the dense weights; its removed weights are zero afterwards.
        weights: the dense weights, name to array.
        sparsities: after every round, growing.
        statistic: of the model as it is.
        score: from weights, statistic and mask.
        allocate: from scores and a sparsity to a mask.
        checkpoint: written after every round, read where there is one; the caller removes it.
        identity: what the checkpoint must have been made from.
        progress: called with the number of rounds done.
    """
    from obtransfer.masks.apply import apply_mask

    mask, done, collapsed = _resume(checkpoint, weights, identity)
    for number, sparsity in enumerate(sparsities, start=1):
        if number <= done:
            continue
        apply_mask(model, mask)
        found = score(weights, statistic(model), mask)
        if number == len(sparsities):
            break
        mask = allocate(found.scores, sparsity)
        for name in collapsed_layers(mask):
            if name not in collapsed:
                print(f"round {number}: {name} has no weights left", flush=True)
                collapsed[name] = number
        card = {"round": number, "collapsed_in_round": collapsed, "made": dict(identity)}
        write_tensors(checkpoint, pack(mask), kind="rounds", metadata=card)
        if progress is not None:
            progress(number)
    return Scores(found.scores, {**found.details, "rounds": len(sparsities), "collapsed_in_round": collapsed})


def _resume(
    checkpoint: Path, weights: Layers, identity: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], int, dict[str, int]]:
    """Mask, number of rounds done and layers lost so far; from the start where nothing fits."""
    try:
        found = read_tensors(checkpoint, kind="rounds")
        if found.metadata["made"] == identity:
            mask = unpack(found.tensors, {name: array.shape for name, array in weights.items()})
            return mask, found.metadata["round"], found.metadata["collapsed_in_round"]
    except ObtransferError:
        pass
    return {name: np.ones(array.shape, dtype=bool) for name, array in weights.items()}, 0, {}
