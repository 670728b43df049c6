"""Choose the damping whose masks keep the source's validation accuracy best. No other task is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.criteria.base import Scores
from obtransfer.evaluate.accuracy import Score
from obtransfer.masks.mask import Mask
from obtransfer.pruning.rounds import Allocate
from obtransfer.settings import DampingChoice

if TYPE_CHECKING:
    from torch import nn

Row = dict[str, str | float]


def try_dampings(
    model: nn.Module,
    weights: Arrays,
    criteria: Mapping[str, Callable[[float], Scores]],
    choice: DampingChoice,
    *,
    allocate: Allocate,
    evaluate: Callable[[nn.Module], Score],
    progress: Callable[[int], None] | None = None,
) -> list[Row]:
    """Accuracy and loss on the source's validation images for every criterion, damping and sparsity.

    Args:
        model: has the dense weights, and has them again afterwards.
        weights: the dense prunable weights, name to array.
        criteria: label to a function from a damping to scores.
        choice: the candidates, and the sparsities at which they are tried.
        allocate: from scores and a sparsity to what is kept.
        evaluate: accuracy and loss of a model.
        progress: called with the number of finished rows.

    Returns:
        Rows with criterion, damping, sparsity, validation_accuracy, validation_loss.
    """
    from obtransfer.masks.apply import apply_mask

    rows: list[Row] = []
    for (label, score), damping in product(criteria.items(), choice.candidates):
        scores = score(damping).scores
        for sparsity in choice.sparsities:
            apply_mask(model, Mask(allocate(scores, str(sparsity))))
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


def best_damping(rows: Iterable[Mapping[str, str | float]]) -> float:
    """The damping with the highest validation accuracy, averaged over criteria and sparsities.

    There is one damping for all criteria, since they can only be compared at the same damping: with B = 1, λ alone leads from `obd` to
    `magnitude`. The mean loss decides between equal accuracies, the smaller damping between equal losses.
    """
    found: dict[float, list[tuple[float, float]]] = {}
    for row in rows:
        pair = float(row["validation_accuracy"]), -float(row["validation_loss"])
        found.setdefault(float(row["damping"]), []).append(pair)
    means = {damping: tuple(np.mean(found[damping], axis=0).round(12)) for damping in sorted(found)}
    return max(means, key=means.__getitem__)  # the first of equals


def _restore(model: nn.Module, weights: Arrays) -> None:
    import torch

    with torch.no_grad():
        for name, weight in weights.items():
            model.get_parameter(name).copy_(torch.from_numpy(np.array(weight)))
