"""What all estimators that go through the data by themselves must leave as it was, and must refuse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build
from obtransfer.registry import ESTIMATORS
from tiny_models import make_head, statistic
from torch import Tensor, nn

NAMES = [name for name, entry in ESTIMATORS.items() if not entry.makes_vectors]
EACH = pytest.mark.parametrize("estimator", NAMES)
WITH_DATA = pytest.mark.parametrize("estimator", [name for name in NAMES if ESTIMATORS[name].data])
COUNT = 5


class TinyReLU(nn.Module):
    """Convolution, BatchNorm, in-place ReLU, max-pooling, dropout, a shortcut: what may be left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.act = (
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
        )
        self.pool, self.inner, self.drop = nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(self.act(self.norm(self.stem(images))))
        return self.drop(self.act(self.inner(maps) + maps)).mean(dim=(2, 3))


def network() -> nn.Module:
    torch.manual_seed(0)
    model = TinyReLU()
    for tensor in (model.norm.running_mean, model.norm.weight.data, model.norm.bias.data):
        tensor.normal_()
    model.norm.running_var.uniform_(0.5, 1.5)
    return model


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, 3, 6, 6, generator=generator), torch.arange(COUNT) % 3


def compute(estimator: str, model: nn.Module, batches: Iterable[Any], **options: Any) -> dict[str, Tensor]:
    if ESTIMATORS[estimator].prior:
        weights = {n: p for n, p in model.named_parameters() if n in ("stem.weight", "inner.weight")}
        options.setdefault("prior", {n: torch.ones_like(p) for n, p in weights.items()})
    if estimator == "hessian":
        options.setdefault("num_probes", 2)
    head = options.pop("head", tuple(tensor.float() for tensor in make_head(4)))
    (structure,) = ESTIMATORS[estimator].structures
    return statistic(model, head, batches, estimator=estimator, structure=structure, **options)


@EACH
def test_batch_size_and_modes_of_the_caller_do_not_matter(estimator: str) -> None:
    images, labels = data()
    expected = compute(estimator, network().eval(), [(images, labels)])
    model = network()
    flags = []
    for index, module in enumerate(model.modules()):
        module.training = index % 2 == 0
        flags.append(module.training)
    for size in (1, 2):
        with torch.no_grad():
            found = compute(estimator, model, zip(images.split(size), labels.split(size), strict=True))
        assert list(found) == ["stem.weight", "inner.weight"]
        for name, tensor in found.items():
            assert relative_error(tensor, expected[name]) < 1e-5, name
            assert not tensor.requires_grad and tensor.abs().max() > 0
    assert [module.training for module in model.modules()] == flags


class Bomb(Exception):
    pass


def exploding(*batch: Tensor) -> Iterator[tuple[Tensor, ...]]:
    yield batch
    raise Bomb


def explode(*_: object, **__: object) -> None:
    raise Bomb


@EACH
@pytest.mark.parametrize("failure", ["none", "data", "forward", "backward", "labels"])
def test_model_is_bit_identical_afterwards(
    estimator: str, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 > 0)
        parameter.grad = torch.full_like(parameter, float(index)) if index % 2 else None
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    identities = {name: id(parameter) for name, parameter in model.named_parameters()}
    random_state = torch.get_rng_state()

    images, labels = data()
    batches: Iterable[Any] = [(images, labels)]
    expected: type[Exception] | None = Bomb
    handle = None
    if failure == "data":
        batches, expected = exploding(images, labels), Bomb if ESTIMATORS[estimator].data else None
    elif failure == "forward":
        handle = model.inner.register_forward_hook(explode)
    elif failure == "backward":
        monkeypatch.setattr(torch.autograd, "grad", explode)
    elif failure == "labels":
        batches = [(images, labels + 100)]
        expected = None if estimator in ("px", "synflow") else ObtransferError
    if failure == "none" or expected is None:
        compute(estimator, model, batches)
    else:
        with pytest.raises(expected):
            compute(estimator, model, batches)
    if handle is not None:
        handle.remove()

    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(parameter.grad, gradient)
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == identities
    for module in model.modules():
        assert module.training
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.relu(torch.tensor(-1.0)) == 0 and torch.backends.cuda.flash_sdp_enabled()


@WITH_DATA
def test_progress_counts_examples_and_empty_batches_are_harmless(estimator: str) -> None:
    images, labels = data()
    counts: list[int] = []
    batches = [(images[:2], labels[:2]), (images[:0], labels[:0]), (images[2:], labels[2:])]
    compute(estimator, network(), batches, progress=counts.append)
    assert counts == [2, COUNT]


@WITH_DATA
@pytest.mark.parametrize("batches", [[], [(torch.ones(0, 3, 6, 6), torch.zeros(0, dtype=torch.long))]])
def test_no_examples_are_refused(estimator: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    with pytest.raises(ObtransferError, match="at least one calibration example"):
        compute(estimator, network(), batches)


@WITH_DATA
def test_a_head_of_another_backbone_is_refused(estimator: str) -> None:
    with pytest.raises(ObtransferError, match=r"features \(\d, 4\), weight \(3, 5\)"):
        compute(estimator, network(), [data()], head=(torch.ones(3, 5), torch.zeros(3)))


@WITH_DATA
@pytest.mark.parametrize("where", ["image", "weight"])
def test_values_that_are_not_finite_are_refused(estimator: str, where: str) -> None:
    model, (images, labels) = network(), data()
    if where == "image":
        images[0] = torch.inf
    else:
        model.inner.weight.data[0] = torch.inf
    with pytest.raises(ObtransferError, match="NaN or infinity in"):
        compute(estimator, model, [(images, labels)])


@EACH
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([], "at least one Conv2d or Linear weight"),
        (["stem.weight", "norm.weight", "nothing"], "got norm.weight, nothing"),
    ],
)
def test_parameters_that_are_no_prunable_weights_are_refused(
    estimator: str, parameters: list[str], message: str
) -> None:
    with pytest.raises(ObtransferError, match=message):
        compute(estimator, network(), [data()], parameters=parameters)


@EACH
def test_batchnorm_without_running_statistics_is_refused(estimator: str) -> None:
    model = network()
    model.norm = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(ObtransferError, match=r"norm \(BatchNorm2d without running statistics\)"):
        compute(estimator, model, [data()])


@EACH
def test_a_layer_that_is_never_reached_is_refused_by_name(estimator: str) -> None:
    model = network()
    model.spare = nn.Linear(2, 2)
    first = {
        "stem.weight": torch.ones(4, 3, 3, 3),
        "inner.weight": torch.ones(4, 4, 1, 1),
        "spare.weight": torch.ones(2, 2),
    }
    with pytest.raises(ObtransferError, match=r"never reach it: spare\.weight"):
        compute(estimator, model, [data()], prior=first)


@pytest.mark.parametrize("estimator", ["hessian", "gradient", "hessian_gradient"])
def test_unknown_losses_and_labels_out_of_range_are_refused(estimator: str) -> None:
    images, labels = data()
    with pytest.raises(ObtransferError, match="loss; got 'hinge'; there are: squared_error"):
        compute(estimator, network(), [(images, labels)], loss="hinge")
    for wrong in (labels + 1, labels - 1, labels.float(), labels[:2]):
        with pytest.raises(ObtransferError, match="curvature needs"):
            compute(estimator, network(), [(images, wrong)])


@pytest.mark.parametrize("options", [{"num_probes": 0}, {"seed": -1}])
def test_hessian_needs_a_probe_and_a_seed(options: dict[str, int]) -> None:
    with pytest.raises(ObtransferError, match="at least 1 probe and a seed of 0 or more"):
        compute("hessian", network(), [data()], **options)


@pytest.mark.parametrize("estimator", ["hessian", "gradient", "hessian_gradient"])
def test_a_model_that_gives_no_features_is_refused(estimator: str) -> None:
    class Two(TinyReLU):
        def forward(self, images: Tensor) -> Any:
            features = super().forward(images)
            return features, features

    with pytest.raises(ObtransferError, match=r"returns features .* got tuple"):
        compute(estimator, Two(), [data()])


def test_a_function_without_second_derivative_is_refused() -> None:
    """Autograd would leave out what goes through it and say nothing."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, inputs: Tensor) -> Tensor:
            return inputs * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * 2

    class Model(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            output: Tensor = Once.apply(super().forward(inputs))
            return output

    with pytest.raises(ObtransferError, match="differentiated twice"):
        compute("hessian", Model(4, 4), [(torch.ones(2, 4), torch.tensor([0, 1]))])


@pytest.mark.parametrize("estimator", NAMES)
def test_a_real_network_gives_every_layer(estimator: str) -> None:
    torch.manual_seed(0)
    model = build("miniresnet")
    first = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    head = tuple(tensor.float() for tensor in make_head(model.num_features))
    batch = (torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    found = compute(estimator, model, [batch], prior=first, head=head)
    assert list(found) == list(first)
    for name, tensor in found.items():
        assert tensor.shape == first[name].shape and tensor.isfinite().all() and tensor.abs().max() > 0
