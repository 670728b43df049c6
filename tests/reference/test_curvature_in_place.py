"""What is done in place to the output of a layer must not hide it: a Linear with bias returns a view for tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import full_matrix
from exact_definitions import assert_equal, gradients_of, observe, prunable, vectors_of
from tiny_models import make, make_examples, make_head, statistic

OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda outputs: outputs,
    "activation": lambda outputs: nn.functional.leaky_relu_(outputs, 0.1),
    "scale": lambda outputs: outputs.mul_(torch.arange(1.0, 4.0)),
    "residual": lambda outputs: outputs.add_(1.0),
    "a part": lambda outputs: outputs[..., :1].mul_(2.0),
    "view": lambda outputs: outputs.view(-1).mul_(2.0),
}


class InPlace(nn.Module):
    """Two layers on [B, ..., 3], with an operation in place right after each."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.operation = OPERATIONS[operation]

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.first(inputs)
        self.operation(maps)
        outputs = self.second(torch.tanh(maps))
        self.operation(outputs)
        return outputs.reshape(len(inputs), -1, 3).mean(dim=1)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 2, 3)], ids=len)
def test_every_layer_is_seen(operation: str, shape: tuple[int, ...]) -> None:
    model, head = make(lambda: InPlace(operation)), make_head(3)
    images, labels = make_examples(shape, 2)
    computed = statistic(model, head, [(images, labels)], estimator="ggn", structure="diagonal")
    seen = observe(model, head, images, vectors_of(labels, "squared_error", "ggn"))
    for name in prunable(model):
        exact = full_matrix(gradients_of(seen[name])).diagonal().reshape(3, 3)
        assert exact.min() > 0
        assert_equal(computed[name], exact, name)
