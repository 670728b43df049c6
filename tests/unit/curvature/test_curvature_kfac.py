"""K-FAC where theory says that it is exact, and the pieces it is made of."""

from __future__ import annotations

from typing import Any

import exact_outputs
import pytest
import torch
from exact_curvature import relative_error
from obtransfer.curvature.per_example.operands import Operands
from obtransfer.curvature.structures import kfac
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic
from torch import Tensor, nn

LINEAR_NETWORKS = {
    "one layer": lambda: nn.Linear(3, 4),
    "deep": lambda: nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 6, bias=False), nn.Linear(6, 4)),
    "convolutions of the whole image": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 1, 1)), nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, padding=1, groups=2), nn.Flatten()
    ),
}


@pytest.mark.parametrize("network", list(LINEAR_NETWORKS))
def test_exact_in_linear_networks_with_one_position(network: str) -> None:
    """There ∂f/∂(a layer's output) is the same for all examples, so the mean of the products is that of the factors."""
    torch.manual_seed(0)
    model, head = LINEAR_NETWORKS[network]().double(), make_head(4)
    images, labels = make_examples((3,), 6)
    found = statistic(model, head, [(images, labels)], estimator="ggn", structure="kfac")
    for name in exact_outputs.prunable(model):
        jacobian = exact_outputs.jacobians(model, head, images, name)
        exact = exact_outputs.layer_matrix(jacobian, torch.eye(3, dtype=torch.float64).expand(6, 3, 3))
        groups = len(found[f"{name}:inputs"])
        size = len(exact) // groups
        for group in range(groups):
            product = torch.kron(found[f"{name}:outputs"][group], found[f"{name}:inputs"][group])
            block = exact[group * size : (group + 1) * size, group * size : (group + 1) * size]
            assert relative_error(product, block) < 1e-10, (name, group)


def test_not_exact_where_theory_does_not_say_so() -> None:
    """The test above could not tell a reference that is K-FAC itself."""
    model, head = make(TinyViT), make_head(4)
    images, labels = make_examples(TinyViT.input_shape, 6)
    found = statistic(model, head, [(images, labels)], estimator="ggn", structure="kfac")
    jacobian = exact_outputs.jacobians(model, head, images, "fc1.weight")
    exact = exact_outputs.layer_matrix(jacobian, torch.eye(3, dtype=torch.float64).expand(6, 3, 3))
    assert (
        relative_error(torch.kron(found["fc1.weight:outputs"][0], found["fc1.weight:inputs"][0]), exact)
        > 0.01
    )


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("structure", ["kfac", "ekfac"])
def test_batches_and_chunks_change_nothing(
    kind: type[nn.Module], structure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (images, labels) = make(kind), make_examples(kind.input_shape, 5)
    options: dict[str, Any] = {"estimator": "ggn", "loss": "cross_entropy"}
    factors = statistic(model, make_head(4), [(images, labels)], structure="kfac", **options)

    def compute(batches: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        return statistic(model, make_head(4), batches, structure=structure, prior=factors, **options)

    whole = compute([(images, labels)])
    split = [(images[part], labels[part]) for part in torch.tensor([3, 1, 4, 0, 2]).split(2)]
    found = [compute(split)]
    for size in (1, 100):
        monkeypatch.setattr(kfac, "FLOATS_AT_ONCE", size)
        monkeypatch.setattr("obtransfer.curvature.per_example.diagonal_kernel.FLOATS_AT_ONCE", size)
        monkeypatch.setattr("obtransfer.curvature.per_example.hooks.CACHED_BYTES", 0)
        found.append(compute(split))
    for other in found:
        for name, expected in whole.items():
            assert relative_error(other[name], expected) < 1e-12, name


@pytest.mark.parametrize("contiguous", ["positions", "channels"])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("floats", [1, 50, 10**6])
def test_second_moment(contiguous: str, groups: int, floats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kfac, "FLOATS_AT_ONCE", floats)
    torch.manual_seed(0)
    values = torch.randn(4, groups, 5, 7, dtype=torch.float64)
    if contiguous == "channels":
        values = values.mT.contiguous().mT
    total = torch.ones(groups, 5, 5, dtype=torch.float64)
    expected = total.clone()
    for example in values:
        for group in range(groups):
            for position in range(7):
                column = example[group, :, position]
                expected[group] += 0.3 * torch.outer(column, column)
    kfac.add_second_moment(total, values, 0.3)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-12)


def test_inputs_count_once_whatever_the_number_of_vectors() -> None:
    """Later vectors bring no activations at all: were they read, this would fail."""
    torch.manual_seed(0)
    sums = kfac.Kfac(torch.zeros(1, 3, 3), torch.zeros(1, 2, 2))
    activations, gradients = torch.randn(4, 1, 3, 5), torch.randn(2, 4, 1, 2, 5)
    sums.add(Operands(gradients[0], activations), 0)
    sums.add(Operands(gradients[1], torch.empty(0)), 1)
    torch.testing.assert_close(sums.inputs[0], torch.einsum("ngit,ngjt->ij", activations, activations) / 5)
    torch.testing.assert_close(sums.outputs[0], torch.einsum("sngit,sngjt->ij", gradients, gradients))


@pytest.mark.parametrize("structure", ["kfac", "ekfac"])
def test_float32_model_in_float64(structure: str) -> None:
    model, (images, labels) = make(TinyCNN).float(), make_examples(TinyCNN.input_shape, 4)
    batches, head = [(images.float(), labels)], make_head(4)
    factors = statistic(model, head, batches, estimator="ggn", structure="kfac", dtype=torch.float64)
    for asked in (torch.float16, torch.float32, torch.float64):
        found = statistic(
            model, head, batches, estimator="ggn", structure=structure, prior=factors, dtype=asked
        )
        assert {tensor.dtype for tensor in found.values()} == {torch.promote_types(asked, torch.float32)}
