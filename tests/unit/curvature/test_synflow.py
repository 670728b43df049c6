"""Synaptic flow: by hand, conserved where theory says so, and against a network with overwritten weights."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from exact_curvature import relative_error
from obtransfer.criteria.synflow import synflow
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build
from tiny_models import TinyCNN, TinyViT, make, statistic
from torch import Tensor, nn


def flow(model: nn.Module, shape: tuple[int, ...]) -> dict[str, Tensor]:
    batch = torch.randn(1, *shape), torch.zeros(1)
    return statistic(model, None, [batch], estimator="synflow", structure="per_weight")


def scores(model: nn.Module, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    statistic = {name: tensor.numpy() for name, tensor in flow(model, shape).items()}
    return synflow({name: model.get_parameter(name).detach().numpy() for name in statistic}, statistic).scores


def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4),
    )  # fmt: skip


def test_four_weights_by_hand() -> None:
    """Two paths, |1 · 3| and |−2 · 4|; biases do not count."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-2.0]]))
        model[2].weight.copy_(torch.tensor([[3.0, 4.0]]))
        model[0].bias.fill_(100.0)
        model[2].bias.fill_(100.0)
    found = flow(model, (1,))
    assert found["0.weight"].tolist() == [[3.0], [4.0]] and found["2.weight"].tolist() == [[1.0, 2.0]]
    result = scores(model, (1,))
    assert result["0.weight"].tolist() == [[3.0], [8.0]] and result["2.weight"].tolist() == [[3.0, 8.0]]


def test_flow_is_conserved_through_a_chain() -> None:
    """The scores of every layer add up to R, that of the network with overwritten weights."""
    model = chain().eval()
    sums = [float(layer.sum()) for layer in scores(model, (3, 9, 9)).values()]
    total = float(overwritten(model)(torch.ones(1, 3, 9, 9, dtype=torch.float64)).sum().detach())
    assert total > 0 and sums == pytest.approx([total] * 4, rel=1e-12)


def overwritten(model: nn.Module) -> nn.Module:
    """A copy with absolute weights and without what is added, by module type."""
    model = deepcopy(model).double().eval()
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.copy_(parameter.abs() if name == "weight" else torch.zeros_like(parameter))
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
    return model


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
def test_other_networks_against_overwritten_weights(kind: type[nn.Module]) -> None:
    model = make(kind)
    found, other = flow(model, kind.input_shape), overwritten(model)
    parameters = [other.get_parameter(name) for name in found]
    exact = torch.autograd.grad(
        other(torch.ones(1, *kind.input_shape, dtype=torch.float64)).sum(), parameters
    )
    for (name, computed), expected in zip(found.items(), exact, strict=True):
        assert relative_error(computed, expected) < 1e-10, name


def test_removed_weights_score_nothing_and_lead_on_no_flow() -> None:
    model = chain()
    with torch.no_grad():
        model[8].weight[0] = 0.0
        model[10].weight[:, 1] = 0.0
    result = scores(model, (3, 9, 9))
    assert (result["8.weight"][:2] == 0).all() and (result["8.weight"][2:] > 0).all()
    assert (result["10.weight"][:, :2] == 0).all() and (result["10.weight"][:, 2:] > 0).all()


def test_a_collapsed_network_scores_nothing() -> None:
    model = chain()
    model[8].weight.data.zero_()
    assert all((layer == 0).all() for layer in scores(model, (3, 9, 9)).values())


def test_a_deep_network_leaves_float32_but_not_float64() -> None:
    layers = [nn.Linear(64, 64, bias=False) for _ in range(30)]
    for layer in layers:
        layer.weight.data.fill_(1.0)
    found = flow(nn.Sequential(*layers), (64,))
    assert found["0.weight"].dtype == torch.float64
    assert relative_error(found["0.weight"], torch.full((64, 64), 64.0**29, dtype=torch.float64)) < 1e-12
    for layer in layers:
        layer.weight.data.fill_(1e20)
    with pytest.raises(ObtransferError, match="NaN or infinity in"):
        flow(nn.Sequential(*layers), (64,))


def test_features_that_cancel_are_refused() -> None:
    model = make(TinyViT)
    nn.init.ones_(model.norm.weight)
    with pytest.raises(ObtransferError, match="LayerNorm with equal scales makes them cancel"):
        flow(model, TinyViT.input_shape)


def test_only_the_shape_of_the_first_image_is_read() -> None:
    model, images = chain(), torch.full((2, 3, 9, 9), torch.nan)
    batches = iter([(images, torch.zeros(2)), None])
    found = statistic(model, None, batches, estimator="synflow", structure="per_weight")
    for name, expected in flow(model, (3, 9, 9)).items():
        assert torch.equal(found[name], expected)
    with pytest.raises(ObtransferError, match="shape of an image; got no images"):
        statistic(model, None, [], estimator="synflow", structure="per_weight")


def test_position_embeddings_and_layers_of_a_real_transformer() -> None:
    torch.manual_seed(0)
    model = build("minivit")
    for parameter in model.parameters():
        parameter.data.normal_()
    found = flow(model, (3, 32, 32))
    model.pos_embed.data.normal_()
    for name, tensor in flow(model, (3, 32, 32)).items():
        assert torch.equal(tensor, found[name]) and tensor.shape == model.get_parameter(name).shape
