"""Pruning in rounds: each computes statistics and scores on the weights that the round before has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from obtransfer.artifacts import Arrays, read_tensors, write_tensors
from obtransfer.criteria.base import Scores
from obtransfer.errors import ObtransferError
from obtransfer.masks.mask import Kept, Mask
from obtransfer.masks.packing import pack, unpack
from obtransfer.registry import STRUCTURES

if TYPE_CHECKING:
    from torch import nn

Allocate = Callable[[Arrays, str], Kept]
"""From scores and a sparsity to what is kept."""


def score_survivors(
    score: Callable[[Arrays, Arrays | None], Scores],
    weights: Arrays,
    statistics: Arrays | None,
    kept: Kept,
    structure: str,
) -> Scores:
    """Scores of a model some of whose weights are removed: these score −∞, so that they stay removed.

    Args:
        score: from weights and statistics.
        weights: name to array, dense or with the removed weights at zero; not changed.
        statistics: of the masked model, or None.
        kept: name to bool array, True = keep.
        structure: of the statistics.

    Raises:
        ObtransferError: a surviving weight without a finite score, or what the criterion refuses.
    """
    left = {name: np.where(kept[name], weight, 0) for name, weight in weights.items()}
    found = score(left, statistics and STRUCTURES[structure].restrict(statistics, kept))
    broken = {name: int((~np.isfinite(found.scores[name][kept[name]])).sum()) for name in weights}
    if any(broken.values()):
        named = ", ".join(f"{name}: {count}" for name, count in broken.items() if count)
        raise ObtransferError(
            f"scores of surviving weights must be finite, but NaN or infinity was found in {named}"
        )
    return Scores({name: np.where(kept[name], s, -np.inf) for name, s in found.scores.items()}, found.details)


def score_in_rounds(
    model: nn.Module,
    sparsities: Sequence[str],
    *,
    score: Callable[[Kept], Scores],
    allocate: Allocate,
    checkpoint: Path,
    identity: Mapping[str, Any],
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Go through the rounds and return the scores of the last, from which the final mask is made as after one round.

    The trap: a layer may lose all its weights on the way, and the network then passes nothing on. The details say which
    layers did and in which round.

    Source: Tanaka et al., *Pruning neural networks without any data by iteratively conserving synaptic flow*, 2020,
    algorithm 1.

    Args:
        model: has the dense weights; its removed weights are zero afterwards.
        sparsities: after every round, growing (`obtransfer.dag.schedule`).
        score: scores of `model`, whose removed weights are zero, from what is kept.
        allocate: from scores and a sparsity to what is kept.
        checkpoint: written after every round, and read if it is there; the caller removes it.
        identity: what the checkpoint must have been made from.
        progress: called with the number of finished rounds.
    """
    from obtransfer.masks.apply import apply_mask
    from obtransfer.models.prunable import prunable_parameters

    shapes = {name: tuple(model.get_parameter(name).shape) for name in prunable_parameters(model)}
    mask, done, collapsed = _resume(checkpoint, shapes, identity)
    for number, sparsity in enumerate(sparsities, start=1):
        if number <= done:
            continue
        apply_mask(model, mask)
        found = score(mask.kept)
        if number == len(sparsities):
            break
        mask = Mask(allocate(found.scores, sparsity))
        for name in mask.collapsed_layers():
            if name not in collapsed:
                print(f"round {number}: {name} has no weights left", flush=True)
                collapsed[name] = number
        metadata = {"round": number, "collapsed_in_round": collapsed, "made": dict(identity)}
        write_tensors(checkpoint, pack(mask.kept), kind="rounds", metadata=metadata)
        if progress is not None:
            progress(number)
    return Scores(found.scores, {**found.details, "rounds": len(sparsities), "collapsed_in_round": collapsed})


def _resume(
    checkpoint: Path, shapes: Mapping[str, tuple[int, ...]], identity: Mapping[str, Any]
) -> tuple[Mask, int, dict[str, int]]:
    """Mask, number of finished rounds and collapsed layers so far; from the start without a checkpoint of this run."""
    try:
        found = read_tensors(checkpoint, kind="rounds")
        if found.metadata["made"] == identity:
            kept = unpack(found.tensors, shapes)
            return Mask(kept), found.metadata["round"], found.metadata["collapsed_in_round"]
    except ObtransferError:
        pass
    return Mask({name: np.ones(shape, dtype=bool) for name, shape in shapes.items()}), 0, {}
