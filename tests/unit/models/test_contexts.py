"""Flags that come back, and the precision that only GPUs have."""

import pytest
import torch
from obtransfer.models.contexts import autocast, evaluation_mode
from torch import nn


@pytest.mark.parametrize("chosen", [None, [], ["0.weight"]])
def test_flags_are_set_for_a_while_and_restored_after_an_error(chosen: list[str] | None) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2)).train()
    model[1].eval()
    model[2].bias.requires_grad_(False)
    weights = None if chosen is None else [model.get_parameter(name) for name in chosen]
    training = [module.training for module in model.modules()]
    gradients = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with pytest.raises(RuntimeError), evaluation_mode(model, weights):
        assert not any(module.training for module in model.modules())
        found = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        assert found == (gradients if chosen is None else {name: name in chosen for name in gradients})
        raise RuntimeError
    assert [module.training for module in model.modules()] == training
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == gradients


@pytest.mark.parametrize(
    ("device", "precision", "enabled"),
    [("cuda", "bfloat16", True), ("cuda", "float32", False), ("cpu", "bfloat16", False), ("cpu", "float32", False)],
)  # fmt: skip
def test_bfloat16_is_for_gpus_that_are_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, enabled: bool
) -> None:
    asked = {}
    monkeypatch.setattr(torch, "autocast", lambda kind, **how: asked.update(kind=kind, **how))
    autocast(torch.device(device), precision)
    assert asked == {"kind": device, "dtype": torch.bfloat16, "enabled": enabled}
