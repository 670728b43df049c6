"""The Hessian's diagonal by random signs: against the exact matrix, over all signs, and on real networks."""

from __future__ import annotations

import itertools
from copy import deepcopy
from functools import partial

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.curvature.estimators import hessian
from obtransfer.curvature.examples import Examples
from obtransfer.curvature.hessian_products import hessian_products
from obtransfer.curvature.whole_loss import selected_weights
from obtransfer.models.build import build
from obtransfer.registry import LOSSES, resolve
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic
from torch import Tensor, nn
from torch.func import functional_call

TOLERANCE = 1e-10
estimate = partial(statistic, estimator="hessian", structure="diagonal")


def loss_by_hand(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """The mean over examples, one at a time."""
    values = []
    for f, y in zip(logits, labels.tolist(), strict=True):
        if loss == "squared_error":
            target = torch.zeros_like(f)
            target[y] = 1
            values.append(((f - target) ** 2).sum() / 2)
        else:
            values.append(f.exp().sum().log() - f[y])
    return torch.stack(values).mean()


def exact_hessian(
    model: nn.Module, head: tuple[Tensor, Tensor], images: Tensor, labels: Tensor, loss: str
) -> tuple[list[str], Tensor]:
    """The names of the prunable weights, and ∇² of the mean loss by all of them together [P, P]."""
    names = [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shapes = [model.get_parameter(name).shape for name in names]

    def value(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {n: p.view(shape) for n, p, shape in zip(names, parts, shapes, strict=True)}
        return loss_by_hand(functional_call(model, weights, (images,)) @ head[0].T + head[1], labels, loss)

    start = torch.cat([model.get_parameter(name).detach().flatten() for name in names])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        matrix: Tensor = torch.func.jacrev(torch.func.jacrev(value))(start)
    return names, matrix.detach()


def flat(statistic: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in statistic.values()])


class Case:
    def __init__(self, kind: type[nn.Module], loss: str) -> None:
        self.model, self.head, self.loss = make(kind).eval(), make_head(4), loss
        self.images, self.labels = make_examples(kind.input_shape, 5)
        self.names, self.exact = exact_hessian(self.model, self.head, self.images, self.labels, loss)

    def estimate(self, **options: int) -> dict[str, Tensor]:
        batches = [(self.images[:3], self.labels[:3]), (self.images[3:], self.labels[3:])]
        return estimate(self.model, self.head, batches, loss=self.loss, **options)


@pytest.fixture(scope="module", params=itertools.product([TinyCNN, TinyViT], LOSSES), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def test_four_weights_by_hand() -> None:
    """f = W x with W 2 × 2, and every x along one axis, so that H is diagonal: any signs give it exactly."""
    model, head = nn.Linear(2, 2, bias=False), (torch.eye(2), torch.zeros(2))
    images, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    found = estimate(model, head, [(images, labels)], num_probes=1)
    # H of ½ ‖W x − y‖² is x xᵀ for every row of W: the means of (4, 0) and (0, 1).
    assert found["weight"].tolist() == [[2.0, 0.5], [2.0, 0.5]]


def test_products_are_those_of_the_exact_matrix(case: Case) -> None:
    """Also across layers: every row of H, each from one product."""
    batches = [(case.images[:2], case.labels[:2]), (case.images[2:], case.labels[2:])]
    examples = Examples(case.model, case.head, batches, resolve(LOSSES[case.loss]))
    weights = selected_weights(examples)
    vector = {name: torch.randn_like(weight) for name, weight in weights.items()}
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    done = hessian_products(
        lambda name, _, product: totals[name].add_(product), examples, weights, lambda _: vector
    )
    assert done == 5 and list(weights) == case.names
    assert relative_error(flat(totals) / done, case.exact @ flat(vector)) < TOLERANCE


def test_the_estimate_is_its_definition_for_the_signs_drawn(case: Case) -> None:
    expected = torch.zeros(len(case.exact), dtype=torch.float64)
    for probe in range(3):
        z = flat(
            {
                n: hessian.signs(n, case.model.get_parameter(n).shape, probe, seed=7).double()
                for n in case.names
            }
        )
        expected += z * (case.exact @ z) / 3
    found = case.estimate(num_probes=3, seed=7)
    assert relative_error(flat(found), expected) < TOLERANCE
    for name in case.names:
        assert found[name].shape == case.model.get_parameter(name).shape


@pytest.mark.slow
def test_it_is_unbiased(case: Case) -> None:
    """Errors in units of the exact standard error √(Σ_{i≠j} H_ij² / S): mean square 1, none beyond 5."""
    probes = 300
    variance = (case.exact.square().sum(dim=1) - case.exact.diagonal().square()) / probes
    known = variance > 1e-20
    errors = (flat(case.estimate(num_probes=probes)) - case.exact.diagonal())[known] / variance[known].sqrt()
    assert errors.abs().max() < 5
    assert 0.6 < errors.square().mean() < 1.6  # the errors of ~200 weights are correlated
    assert errors.mean().abs() < 0.5


class Tiny(nn.Module):
    """Two layers of four weights each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.second(torch.tanh(self.first(inputs)))
        return features


@pytest.mark.parametrize("loss", LOSSES)
def test_the_average_over_all_signs_is_the_exact_diagonal(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, head = make(Tiny), make_head(2)
    images, labels = make_examples((2,), 3)
    _, exact = exact_hessian(model, head, images, labels, loss)
    everything = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=8)), dtype=torch.float64)
    halves = {"first.weight": everything[:, :4], "second.weight": everything[:, 4:]}
    monkeypatch.setattr(
        hessian, "signs", lambda name, shape, probe, seed: halves[name][probe].reshape(tuple(shape))
    )
    found = estimate(model, head, [(images, labels)], loss=loss, num_probes=256)
    assert relative_error(flat(found), exact.diagonal()) < TOLERANCE


def test_signs_are_a_part_of_the_definition() -> None:
    """Stored: the same on every machine, and independent of other layers, shapes and probes."""
    assert hessian.signs("layer", (2, 5), 0, seed=0).tolist() == [[-1, 1, 1, -1, -1], [1, -1, -1, -1, 1]]
    row = hessian.signs("layer", (10,), 0, seed=0)
    assert torch.equal(hessian.signs("layer", (2, 5), 0, seed=0).flatten(), row)
    assert torch.equal(hessian.signs("layer", (200,), 0, seed=0)[:10], row)


def test_signs_of_other_layers_probes_and_seeds_are_independent() -> None:
    count = 100_000
    drawn = [
        hessian.signs(name, (count,), probe, seed).double()
        for name, probe, seed in [("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1), ("a", 2**40, 2**40)]
    ]
    products = torch.stack(drawn) @ torch.stack(drawn).T / count
    assert (products - torch.eye(5, dtype=torch.float64)).abs().max() < 5 / count**0.5
    assert max(abs(float(signs.mean())) for signs in drawn) < 5 / count**0.5


@pytest.mark.parametrize("architecture", ["miniresnet", "minivit"])
def test_real_networks_against_differences_of_gradients(architecture: str) -> None:
    """In-place ReLU, BatchNorm, max-pooling and timm's fused attention; a central difference in float64."""
    torch.manual_seed(0)
    model = build(architecture).double()
    images, labels = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 2])
    head = make_head(model.num_features)
    examples = Examples(model, head, [(images, labels)], resolve(LOSSES["squared_error"]))
    weights = selected_weights(examples)
    z = {n: hessian.signs(n, p.shape, 0, seed=0) * p.detach().abs() for n, p in weights.items()}
    totals: dict[str, Tensor] = {}
    done = hessian_products(
        lambda name, _, product: totals.__setitem__(name, product.clone()), examples, weights, lambda _: z
    )
    step, slopes = 1e-6, []
    for sign in (1, -1):
        moved = deepcopy(model)
        with torch.no_grad():
            for name, direction in z.items():
                moved.get_parameter(name).add_(sign * step * direction)
        value = loss_by_hand(moved(images) @ head[0].T + head[1], labels, "squared_error")
        slopes.append(torch.autograd.grad(value, [moved.get_parameter(name) for name in z]))
    for name, up, down in zip(z, *slopes, strict=True):
        assert relative_error(totals[name] / done, (up - down) / (2 * step)) < 1e-5, name


def test_fused_attention_is_off_only_meanwhile() -> None:
    """It has no second derivative: were it not off, or off too late, this would fail."""
    model, head = build("minivit"), make_head(96)
    batch = (torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    assert all(m.fused_attn for m in model.modules() if hasattr(m, "fused_attn"))
    switches = [torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.mem_efficient_sdp_enabled]
    before = [switch() for switch in switches]
    found = estimate(model, head, [batch], num_probes=1)
    assert [switch() for switch in switches] == before == [True, True]
    assert all(m.fused_attn for m in model.modules() if hasattr(m, "fused_attn"))
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    expected = estimate(model, head, [batch], num_probes=1)
    for name, tensor in found.items():
        assert relative_error(tensor, expected[name]) < 1e-4, name
