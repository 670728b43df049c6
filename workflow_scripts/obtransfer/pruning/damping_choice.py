"""Which damping suits a source: the one whose masks keep its validation accuracy best. No other task is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from obtransfer.criteria.base import Scores
from obtransfer.evaluate.accuracy import Score

if TYPE_CHECKING:
    from torch import nn

Layers = Mapping[str, np.ndarray]


def try_dampings(
    model: nn.Module,
    weights: Layers,
    criteria: Mapping[str, Callable[[float], Scores]],
    *,
    candidates: Sequence[float],
    sparsities: Sequence[float],
    allocate: Callable[[Layers, str], dict[str, np.ndarray]],
    evaluate: Callable[[nn.Module], Score],
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Accuracy and loss on the source's validation images for every criterion, damping and sparsity.

    Args:
        model: has the dense weights, and has them again afterwards.
        weights: the dense prunable weights, name to array.
        criteria: label to a function from a damping to scores.
        candidates: dampings.
        sparsities: fractions to remove.
        allocate: from scores and a sparsity to a mask.
        evaluate: accuracy and loss of a model.
        progress: called with the number of rows done.

    Returns:
        Rows with criterion, damping, sparsity, validation_accuracy, validation_loss.
    """
    from obtransfer.masks.apply import apply_mask

    rows: list[dict[str, Any]] = []
    for (label, score), damping in product(criteria.items(), candidates):
        scores = score(damping).scores
        for sparsity in sparsities:
            apply_mask(model, allocate(scores, str(sparsity)))
            found = evaluate(model)
            _restore(model, weights)
            rows.append(
                {
                    "criterion": label,
                    "damping": damping,
                    "sparsity": sparsity,
                    "validation_accuracy": found.accuracy,
                    "validation_loss": found.loss,
                }
            )
            if progress is not None:
                progress(len(rows))
    return rows


def best_damping(rows: Iterable[Mapping[str, Any]]) -> float:
    """The damping with the highest validation accuracy, averaged over criteria and sparsities.

    One for all criteria, since they can only be compared at the same damping (with B = 1, λ alone leads from `obd` to
    `magnitude`). Equal accuracies are decided by the mean loss, equal losses by the smaller damping.
    """
    found: dict[float, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(float(row["damping"]), []).append(
            (float(row["validation_accuracy"]), -float(row["validation_loss"]))
        )
    return max(
        sorted(found), key=lambda damping: tuple(np.mean(found[damping], axis=0).round(12))
    )  # the first of equals


def _restore(model: nn.Module, weights: Layers) -> None:
    import torch

    with torch.no_grad():
        for name, weight in weights.items():
            model.get_parameter(name).copy_(torch.from_numpy(np.array(weight)))
