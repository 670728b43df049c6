"""The backbones that ship, at full size, against per-example autograd."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import one_thread
from exact_definitions import (
    ESTIMATORS,
    LOSSES,
    assert_equal,
    factors_of,
    gradients_of,
    observe,
    prunable,
    vectors_of,
)
from tiny_models import make_examples, make_head, statistic

BLOCK = 48


@pytest.mark.slow
@one_thread()
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("architecture", ["miniresnet", "minivit"])
def test_all_structures(architecture: str, estimator: str, loss: str) -> None:
    from obtransfer.models.build import build

    torch.manual_seed(0)
    model = build(architecture).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    images, labels = make_examples((3, 32, 32), 2)
    head = make_head(model.eval()(images).shape[1])
    exact = observe(model, head, images, vectors_of(labels, loss, estimator))
    diagonal, blocks, factors = (
        statistic(
            model,
            head,
            [(images, labels)],
            estimator=estimator,
            structure=structure,
            block_size=BLOCK,
            loss=loss,
        )
        for structure in ("diagonal", "block", "kfac")
    )
    assert list(diagonal) == list(blocks) == prunable(model)
    for name, seen in exact.items():
        gradients = gradients_of(seen)
        squares = gradients.square().sum(dim=(0, 1)) / len(images)
        assert_equal(diagonal[name].flatten(), squares, name)
        padded = nn.functional.pad(gradients.flatten(0, 1), (0, -gradients.shape[-1] % BLOCK))
        parts = padded.unflatten(1, (-1, BLOCK)).transpose(0, 1)
        assert_equal(blocks[name], parts.mT @ parts / len(images), name)
        inputs, outputs = factors_of(seen)
        assert_equal(factors[f"{name}:inputs"], inputs, name)
        assert_equal(factors[f"{name}:outputs"], outputs, name)
