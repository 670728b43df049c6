"""The sampled estimator: unbiased for `ggn`, and the same whatever way the examples come."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.curvature.merge import merge
from obtransfer.registry import LOSSES, STRUCTURES
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, statistic
from torch import Tensor, nn

BOTH = pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
LOSS = pytest.mark.parametrize("loss", list(LOSSES))
COUNT = 7


def compute(model: nn.Module, batches: Any, **options: Any) -> dict[str, Tensor]:
    arguments: dict[str, Any] = {
        "estimator": "mc_fisher",
        "structure": "diagonal",
        "seed": 3,
    } | options
    if arguments["estimator"] == "mc_fisher":
        arguments.setdefault("num_samples", 2)
    return statistic(model, make_head(4), batches, **arguments)


@BOTH
@LOSS
def test_unbiased_for_the_ggn(kind: type[nn.Module], loss: str) -> None:
    """Mean error of 100 seeds: trace and uᵀ H u of every layer's blocks, u random, within 4 standard errors."""
    model, batches = make(kind), [make_examples(kind.input_shape, COUNT)]
    options: dict[str, Any] = {"structure": "block", "block_size": "row", "loss": loss}
    exact = compute(model, batches, estimator="ggn", **options)
    generator = torch.Generator().manual_seed(0)
    directions = {
        name: torch.randn(blocks.shape[:2], generator=generator, dtype=torch.float64)
        for name, blocks in exact.items()
    }
    runs = [compute(model, batches, num_samples=1, seed=seed, **options) for seed in range(100)]
    for name, u in directions.items():
        for number in (trace, lambda blocks, u=u: torch.einsum("ki,kij,kj->", u, blocks, u)):
            drawn = torch.stack([number(run[name]) for run in runs])
            error = drawn.mean() - number(exact[name])
            assert error.abs() < 4 * drawn.std() / len(drawn) ** 0.5, name


def trace(blocks: Tensor) -> Tensor:
    return blocks.diagonal(dim1=1, dim2=2).sum()


@LOSS
def test_more_samples_come_nearer(loss: str) -> None:
    """The error falls like 1/√S: at 64 times the samples by about 8, at least by 3."""
    model, batches = make(TinyViT), [make_examples(TinyViT.input_shape, COUNT)]
    exact = compute(model, batches, estimator="ggn", loss=loss)
    few, many = (compute(model, batches, num_samples=samples, loss=loss) for samples in (2, 128))

    def distance(found: dict[str, Tensor]) -> float:
        return sum(float((found[n] - h).norm() / h.norm()) for n, h in exact.items())

    assert distance(many) < distance(few) / 3


@BOTH
@LOSS
@pytest.mark.parametrize("structure", ["diagonal", "kfac"])
def test_batches_order_groups_and_shares_do_not_change_the_draws(
    kind: type[nn.Module], loss: str, structure: str
) -> None:
    model, (images, labels) = make(kind), make_examples(kind.input_shape, COUNT)
    indices = torch.tensor([4, 0, 100, 2**35, 1, 2, 3])
    options: dict[str, Any] = {"loss": loss, "structure": structure}
    whole = compute(model, [(images, labels, indices)], **options)
    order = torch.tensor([6, 2, 0, 3, 1, 5, 4])
    shuffled = [(images[part], labels[part], indices[part]) for part in order.split(2)]
    names = list(dict.fromkeys(name.partition(":")[0] for name in whole))
    groups = [compute(model, shuffled, parameters=tuple(some), **options) for some in (names[:2], names[2:])]
    shares = [
        (
            {
                n: t.numpy()
                for n, t in compute(model, [(images[p], labels[p], indices[p])], **options).items()
            },
            len(p),
        )
        for p in (order[:5], order[5:])
    ]
    others = {
        "batches": compute(model, shuffled, **options),
        "groups": groups[0] | groups[1],
        "shares": {
            name: torch.from_numpy(array) for name, array in merge(shares, STRUCTURES[structure]).items()
        },
    }
    for what, found in others.items():
        assert list(found) == list(whole)
        for name, expected in whole.items():
            assert relative_error(found[name], expected) < 1e-12, (what, name)


def test_without_indices_examples_are_counted_from_zero() -> None:
    model, (images, labels) = make(TinyViT), make_examples(TinyViT.input_shape, COUNT)
    whole = compute(model, [(images, labels, torch.arange(COUNT))])
    counted = compute(model, [(images[:3], labels[:3]), (images[:0], labels[:0]), (images[3:], labels[3:])])
    other = compute(model, [(images, labels, torch.arange(1, COUNT + 1))])
    for name, expected in whole.items():
        assert relative_error(counted[name], expected) < 1e-12, name
        assert relative_error(other[name], expected) > 0.01, name


@LOSS
def test_labels_are_not_read_and_the_seed_is(loss: str) -> None:
    model, (images, labels) = make(TinyViT), make_examples(TinyViT.input_shape, COUNT)
    found = compute(model, [(images, labels)], loss=loss)
    relabelled = compute(model, [(images, (labels + 1) % 3)], loss=loss)
    reseeded = compute(model, [(images, labels)], loss=loss, seed=4)
    for name, expected in found.items():
        assert torch.equal(relabelled[name], expected)
        assert relative_error(reseeded[name], expected) > 0.01, name
