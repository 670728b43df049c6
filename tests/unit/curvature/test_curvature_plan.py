"""Groups of layers: planned before the start, within the limit, with the same result."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.curvature.compute import compute_curvature, compute_in_groups
from obtransfer.curvature.plan import plan
from obtransfer.errors import ObtransferError
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head
from torch import Tensor, nn

BOTH = pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
STRUCTURES = ["diagonal", "block", "kfac", "ekfac"]
COUNT = 5


class Batches:
    """Can be gone through again, and counts how often it was."""

    def __init__(self, kind: type[nn.Module], sizes: tuple[int, ...] = (2, 3)) -> None:
        images, labels = make_examples(kind.input_shape, COUNT)
        self.batches = list(zip(images.split(sizes), labels.split(sizes), strict=True))
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        return iter(self.batches)


def options_of(structure: str, model: nn.Module, kind: type[nn.Module]) -> dict[str, Any]:
    options: dict[str, Any] = {"estimator": "empirical_fisher", "structure": structure, "block_size": 5}
    if structure == "ekfac":
        options["factors"] = compute_curvature(
            model, *make_head(4), Batches(kind), estimator="empirical_fisher", structure="kfac"
        )
    return options


@BOTH
@pytest.mark.parametrize("structure", STRUCTURES)
def test_any_limit_gives_the_same_result_in_the_planned_passes(kind: type[nn.Module], structure: str) -> None:
    model = make(kind)
    options = options_of(structure, model, kind)
    whole = compute_curvature(model, *make_head(4), Batches(kind), **options)
    everything = plan(model, structure, 5)
    assert everything.passes == 1
    assert everything.total_bytes == everything.peak_bytes == sum(tensor.nbytes for tensor in whole.values())
    largest = max(everything.bytes_by_layer.values())
    seen = set()
    for limit in (largest, largest + 8, 2 * largest, everything.total_bytes - 1, everything.total_bytes):
        planned = plan(model, structure, 5, memory_limit=limit)
        batches, counts = Batches(kind), []
        found = compute_curvature(
            model, *make_head(4), batches, memory_limit=limit, progress=counts.append, **options
        )
        assert batches.passes == planned.passes
        assert counts == [pass_ * COUNT + done for pass_ in range(planned.passes) for done in (2, COUNT)]
        assert list(found) == list(whole)
        for name, expected in whole.items():
            assert relative_error(found[name], expected) < 1e-12, (limit, name)
        seen.add(planned.passes)
    assert len(seen) > 2


@pytest.mark.parametrize("structure", STRUCTURES)
def test_groups_are_those_of_the_plan_and_fit(structure: str) -> None:
    model = make(TinyViT)
    options = options_of(structure, model, TinyViT)
    limit = max(plan(model, structure, 5).bytes_by_layer.values())
    planned = plan(model, structure, 5, memory_limit=limit)
    groups = list(compute_in_groups(model, *make_head(4), Batches(TinyViT), memory_limit=limit, **options))
    names = [tuple(dict.fromkeys(key.partition(":")[0] for key in group)) for group in groups]
    assert tuple(names) == planned.groups
    assert sum(planned.groups, ()) == tuple(planned.bytes_by_layer)
    for group, members in zip(groups, planned.groups, strict=True):
        assert sum(tensor.nbytes for tensor in group.values()) == planned.group_bytes(members) <= limit
    for first, second in zip(planned.groups, planned.groups[1:], strict=False):
        assert planned.group_bytes((*first, second[0])) > limit, "greedy: the next layer would have fitted"


class Watching(Batches):
    """Looks, at the start of every pass, how many tensors of the groups before are still there."""

    def __init__(self) -> None:
        super().__init__(TinyViT)
        self.given: list[weakref.ref[Tensor]] = []
        self.alive: list[int] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.alive.append(sum(reference() is not None for reference in self.given))
        return super().__iter__()


def test_a_forgotten_group_is_gone_before_the_next_grows() -> None:
    model, batches = make(TinyViT), Watching()
    limit = max(plan(model, "kfac").bytes_by_layer.values())
    for group in compute_in_groups(
        model, *make_head(4), batches, estimator="ggn", structure="kfac", memory_limit=limit
    ):
        batches.given += [weakref.ref(tensor) for tensor in group.values()]
        del group
    assert len(batches.given) == 10
    assert batches.alive == [0] * plan(model, "kfac", memory_limit=limit).passes


def test_bytes_by_hand() -> None:
    """TinyCNN's grouped [4, 2, 3, 1]: 2 groups of 2 outputs and 6 inputs; float64 as the model is."""
    model = make(TinyCNN)
    for structure, floats in [
        ("diagonal", 4 * 2 * 3),
        ("block", 5 * 5 * 5),
        ("kfac", 2 * (6 * 6 + 2 * 2)),
        ("ekfac", 2 * (6 * 6 + 2 * 2 + 2 * 6)),
    ]:
        assert plan(model, structure, 5).bytes_by_layer["grouped.weight"] == 8 * floats, structure
    assert plan(model, "block", "row").bytes_by_layer["grouped.weight"] == 8 * 4 * 6 * 6
    assert plan(model.float(), "block", 5).bytes_by_layer["grouped.weight"] == 4 * 5 * 5 * 5
    assert plan(model, "block", 5, torch.float64).bytes_by_layer["grouped.weight"] == 8 * 5 * 5 * 5


def test_description() -> None:
    model = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(3)))
    assert plan(model, "diagonal", memory_limit=9 * 2**20).describe() == (
        "2 passes over the data; statistics of 12.0 MiB, at most 8.0 MiB at once (limit 9.0 MiB)\n"
        "pass 1: 0.weight to 1.weight, 2 layers, 8.0 MiB\n"
        "pass 2: 2.weight, 4.0 MiB"
    )
    assert plan(model, "diagonal", parameters=["1.weight"]).describe() == (
        "1 pass over the data; statistics of 4.0 MiB, at most 4.0 MiB at once (no limit)\n"
        "pass 1: 1.weight, 4.0 MiB"
    )


def test_layers_that_do_not_fit_alone() -> None:
    message = "block statistics of a single layer must fit the memory limit of 1000 bytes, but qkv.weight needs 2000 bytes"
    with pytest.raises(ObtransferError, match=message):
        plan(make(TinyViT), "block", 5, memory_limit=1000)


def test_arguments_raise_before_the_first_group_is_asked_for() -> None:
    model, options = make(TinyViT), {"estimator": "ggn", "structure": "diagonal"}
    for wrong, message in [
        ({"structure": "full"}, "structure 'full'"),
        ({"estimator": "full"}, "estimator 'full'"),
        ({"loss": "full"}, "loss 'full'"),
        ({"memory_limit": 8}, "limit of 8 bytes, but patch_embed.weight needs 128 bytes; qkv.weight"),
        ({"parameters": ["nowhere"]}, "no such parameter"),
        ({"structure": "block", "block_size": 17}, "larger than these layers"),
    ]:
        with pytest.raises(ObtransferError, match=message):
            compute_in_groups(model, *make_head(4), Batches(TinyViT), **(options | wrong))


def test_an_iterator_serves_one_pass_only() -> None:
    model, options = make(TinyViT), {"estimator": "ggn", "structure": "diagonal"}
    total = plan(model, "diagonal").total_bytes
    compute_curvature(model, *make_head(4), iter(Batches(TinyViT)), memory_limit=total, **options)
    with pytest.raises(ObtransferError, match="takes 2 passes over the data, but `batches` is an iterator"):
        compute_in_groups(model, *make_head(4), iter(Batches(TinyViT)), memory_limit=total - 1, **options)


class Shrinking(Batches):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        return iter(self.batches[: 3 - self.passes])


def test_passes_over_different_data() -> None:
    model = make(TinyViT)
    total = plan(model, "diagonal").total_bytes
    with pytest.raises(ObtransferError, match="same examples in every pass; the first had 5, pass 2 had 2"):
        compute_curvature(
            model,
            *make_head(4),
            Shrinking(TinyViT),
            memory_limit=total - 1,
            estimator="ggn",
            structure="diagonal",
        )


def test_between_groups_the_model_is_as_it_was() -> None:
    model = make(TinyCNN)
    limit = max(plan(model, "diagonal").bytes_by_layer.values())
    groups = compute_in_groups(
        model, *make_head(4), Batches(TinyCNN), estimator="ggn", structure="diagonal", memory_limit=limit
    )
    next(groups)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    groups.close()
