"""The way in for networks outside the workflow."""

from __future__ import annotations

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.curvature import compute_statistic
from obtransfer.errors import ObtransferError
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loader(kind: type[nn.Module]) -> DataLoader:
    return DataLoader(TensorDataset(*make_examples(kind.input_shape, 7)), batch_size=3)


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("estimator", "structure"),
    [
        ("ggn", "ekfac"),
        ("mc_fisher", "blockrow"),
        ("hessian", "diagonal"),
        ("hessian_gradient", "per_weight"),
        ("synflow", "per_weight"),
    ],
)
def test_a_head_may_be_a_layer_or_part_of_the_model(
    kind: type[nn.Module], estimator: str, structure: str
) -> None:
    """The three ways of saying the same: a head beside the model, an `nn.Linear`, and a model that returns logits."""
    model, head = make(kind).eval(), make_head(4)
    names = [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    layer = nn.Linear(4, 3).double()
    layer.load_state_dict({"weight": head.weight, "bias": head.bias})
    asked = (estimator, structure)
    expected = statistic(model, head, loader(kind), estimator=estimator, structure=structure, seed=2)
    found = compute_statistic(model, layer, loader(kind), *asked, seed=2)
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    if estimator == "synflow":
        return
    whole = compute_statistic(
        nn.Sequential(model, layer), None, loader(kind), *asked, seed=2, parameters=[f"0.{n}" for n in names]
    )
    assert list(whole) == [f"0.{key}" for key in expected]
    if estimator != "hessian":  # whose signs belong to names
        assert all(relative_error(whole[f"0.{key}"], tensor) < 1e-10 for key, tensor in expected.items())


def test_settings_go_to_the_estimator_that_has_them() -> None:
    model, head = make(TinyViT), make_head(4)
    few, many = (
        compute_statistic(model, head, loader(TinyViT), "mc_fisher", num_samples=count, loss="cross_entropy")
        for count in (1, 2)
    )
    assert relative_error(few["qkv.weight"], many["qkv.weight"]) > 0.01
    with pytest.raises(ObtransferError, match="got num_samples; its settings: loss"):
        compute_statistic(model, head, loader(TinyViT), "ggn", num_samples=1)
