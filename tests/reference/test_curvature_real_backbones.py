"""The backbones that ship, at full size, against per-example autograd."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import example_gradients, one_thread, relative_error
from obtransfer.curvature.compute import compute_curvature
from tiny_models import make_examples, make_head

BLOCK = 48


@pytest.mark.slow
@one_thread()
@pytest.mark.parametrize("architecture", ["miniresnet", "minivit"])
def test_both_estimators_and_structures(architecture: str) -> None:
    from obtransfer.models.build import build

    torch.manual_seed(0)
    model = build(architecture).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    images, labels = make_examples((3, 32, 32), 2)
    head = make_head(model(images).shape[1])
    names = [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for estimator, layers in example_gradients(model, *head, images, labels, names).items():
        diagonal, blocks = (
            compute_curvature(
                model, *head, [(images, labels)], estimator=estimator, structure=structure, block_size=BLOCK
            )
            for structure in ("diagonal", "block")
        )
        for name, gradients in layers.items():
            exact = gradients.square().sum(dim=(0, 1)) / len(images)
            assert relative_error(diagonal[name].flatten(), exact) < 1e-8, name
            padded = nn.functional.pad(gradients.flatten(0, 1), (0, -gradients.shape[-1] % BLOCK))
            parts = padded.unflatten(1, (-1, BLOCK)).transpose(0, 1)
            assert relative_error(blocks[name], parts.mT @ parts / len(images)) < 1e-8, name
