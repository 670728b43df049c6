"""The damping is chosen by the source's validation images, for all criteria together."""

from __future__ import annotations

import numpy as np
import torch
from obtransfer.criteria.base import Scores
from obtransfer.evaluate.accuracy import Score
from obtransfer.masks.allocation import global_
from obtransfer.pruning.damping_choice import best_damping, try_dampings
from obtransfer.settings import DampingChoice
from torch import nn


def row(damping: float, accuracy: float, loss: float) -> dict[str, float]:
    return {"damping": damping, "validation_accuracy": accuracy, "validation_loss": loss}


def test_the_best_mean_accuracy_wins() -> None:
    assert best_damping([row(0.1, 0.9, 1), row(0.1, 0.5, 1), row(1.0, 0.8, 9), row(1.0, 0.7, 9)]) == 1.0


def test_equal_accuracies_are_decided_by_the_loss_and_equal_losses_by_the_smaller_damping() -> None:
    assert best_damping([row(1.0, 0.5, 0.4), row(0.1, 0.5, 0.3), row(10.0, 0.5, 0.5)]) == 0.1
    assert best_damping([row(1.0, 0.5, 0.3), row(0.1, 0.5, 0.3)]) == 0.1


def test_every_combination_is_tried_on_the_right_model_and_the_weights_come_back() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 1, bias=False)
    weights = {"weight": model.weight.detach().numpy().copy()}
    criteria = {
        "falling": lambda damping: Scores({"weight": np.array([[4.0, 3.0, 2.0, damping]])}),
        "rising": lambda damping: Scores({"weight": np.array([[damping, 2.0, 3.0, 4.0]])}),
    }
    seen = []

    def evaluate(pruned: nn.Module) -> Score:
        kept = (pruned.weight != 0).int().flatten().tolist()
        seen.append(kept)
        return Score(sum(kept) / 4, float(len(seen)))

    done: list[int] = []
    rows = try_dampings(
        model,
        weights,
        criteria,
        DampingChoice(candidates=(0.0, 9.0), sparsities=(0.25, 0.5)),
        allocate=global_,
        evaluate=evaluate,
        progress=done.append,
    )
    assert seen == [
        [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 1],
        [0, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1], [1, 0, 0, 1],
    ]  # fmt: skip
    assert [(r["criterion"], r["damping"], r["sparsity"]) for r in rows][2:4] == [
        ("falling", 9.0, 0.25),
        ("falling", 9.0, 0.5),
    ]
    assert done == list(range(1, 9)) and rows[-1]["validation_loss"] == 8.0
    np.testing.assert_array_equal(model.weight.detach().numpy(), weights["weight"])
