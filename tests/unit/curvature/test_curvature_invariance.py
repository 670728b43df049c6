"""What the result must not depend on, and what must be left as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.errors import ObtransferError
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic
from torch import Tensor, nn

BOTH = pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
COUNT = 7


def compute(
    model: nn.Module, batches: list[tuple[Tensor, Tensor]], structure: str = "block"
) -> dict[str, Tensor]:
    return statistic(
        model, make_head(4), batches, estimator="empirical_fisher", structure=structure, block_size=5
    )


def assert_close(computed: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(computed) == list(expected)
    for name, exact in expected.items():
        assert relative_error(computed[name], exact) < 1e-12, name


@BOTH
@pytest.mark.parametrize("size", [1, 2, 3])
def test_batch_size_and_order_do_not_matter(kind: type[nn.Module], size: int) -> None:
    model = make(kind)
    images, labels = make_examples(kind.input_shape, COUNT)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    batches = list(zip(images[order].split(size), labels[order].split(size), strict=True))
    assert_close(compute(model, batches), compute(model, [(images, labels)]))


@BOTH
def test_training_mode_of_the_caller_does_not_matter_and_comes_back(kind: type[nn.Module]) -> None:
    examples = make_examples(kind.input_shape, COUNT)
    model = make(kind).eval()
    expected = compute(model, [examples])
    for index, module in enumerate(model.modules()):
        module.training = index % 2 == 0
    flags = [module.training for module in model.modules()]
    assert_close(compute(model, [examples]), expected)
    assert [module.training for module in model.modules()] == flags


class Bomb(Exception):
    pass


def exploding(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield images, labels
    raise Bomb


def explode(module: nn.Module, *_: object) -> None:
    raise Bomb


@BOTH
@pytest.mark.parametrize("failure", ["none", "data", "forward", "backward", "labels"])
def test_model_is_bit_identical_afterwards(kind: type[nn.Module], failure: str, monkeypatch) -> None:
    model = make(kind)
    images, labels = make_examples(kind.input_shape, COUNT)
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 > 0)
        parameter.grad = torch.full_like(parameter, float(index)) if index % 2 else None
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    flags = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()

    batches = iter([(images, labels)])
    last = list(model.modules())[-1]
    handle = None
    if failure == "data":
        batches = exploding(images, labels)
    elif failure == "forward":
        handle = last.register_forward_hook(explode)
    elif failure == "backward":
        monkeypatch.setattr("obtransfer.curvature.per_example.hooks.join", explode)
    elif failure == "labels":
        batches = iter([(images, labels + 100)])
    if failure == "none":
        compute(model, batches := [(images, labels)])
        factors = compute(model, batches, "kfac")
        for structure in ("diagonal", "kfac", "ekfac"):
            statistic(model, make_head(4), batches, estimator="mc_fisher", structure=structure, prior=factors)
    else:
        with pytest.raises((Bomb, ObtransferError)):
            statistic(model, make_head(4), batches, estimator="empirical_fisher", structure="diagonal")
    if handle is not None:
        handle.remove()

    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(parameter.grad, gradient)
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert [module.training for module in model.modules()] == flags
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
    assert torch.equal(torch.get_rng_state(), random_state)


def test_gradient_mode_and_existing_gradients_do_not_matter() -> None:
    model, examples = make(TinyCNN), make_examples(TinyCNN.input_shape, COUNT)
    expected = compute(model, [examples])
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        assert_close(compute(model, [examples]), expected)


def test_progress_counts_examples_and_empty_batches_are_harmless() -> None:
    model, (images, labels) = make(TinyViT), make_examples(TinyViT.input_shape, COUNT)
    batches = [(images[:3], labels[:3]), (images[:0], labels[:0]), (images[3:], labels[3:])]
    counts: list[int] = []
    computed = statistic(
        model, make_head(4), batches, estimator="ggn", structure="diagonal", progress=counts.append
    )
    assert counts == [3, 7]
    expected = statistic(model, make_head(4), [(images, labels)], estimator="ggn", structure="diagonal")
    assert_close(computed, expected)


def test_ggn_reads_no_labels_and_empirical_fisher_does() -> None:
    model, (images, labels) = make(TinyViT), make_examples(TinyViT.input_shape, COUNT)
    results = {
        (estimator, shift): statistic(
            model, make_head(4), [(images, (labels + shift) % 3)], estimator=estimator, structure="diagonal"
        )
        for estimator in ("ggn", "empirical_fisher")
        for shift in (0, 1)
    }
    for name in results["ggn", 0]:
        assert torch.equal(results["ggn", 0][name], results["ggn", 1][name])
        assert (
            relative_error(results["empirical_fisher", 1][name], results["empirical_fisher", 0][name]) > 0.01
        )
