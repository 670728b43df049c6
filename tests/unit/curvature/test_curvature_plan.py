"""Groups of layers: planned before the start, within the limit, with the same result."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from exact_curvature import relative_error
from obtransfer.curvature.compute import compute_curvature
from obtransfer.curvature.plan import plan
from obtransfer.curvature.request import Request
from obtransfer.errors import ObtransferError
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head
from torch import Tensor, nn

BOTH = pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
STRUCTURES = ["diagonal", "block5", "kfac", "ekfac"]


def compute(model: nn.Module, kind: type[nn.Module], request: Request) -> dict[str, Tensor]:
    return compute_curvature(model, make_head(4), [make_examples(kind.input_shape, 5)], request)


@BOTH
@pytest.mark.parametrize("structure", STRUCTURES)
def test_any_limit_gives_the_same_result(kind: type[nn.Module], structure: str) -> None:
    model, request = make(kind), Request("empirical_fisher", structure)
    whole, everything = compute(model, kind, request), plan(model, request)
    assert everything.passes == 1
    assert everything.total_bytes == everything.peak_bytes == sum(tensor.nbytes for tensor in whole.values())
    largest = max(everything.bytes_by_layer.values())
    seen = set()
    for limit in (largest, largest + 8, 2 * largest, everything.total_bytes - 1, everything.total_bytes):
        planned = plan(model, request, limit)
        found: dict[str, Tensor] = {}
        for group in planned.groups:
            some = compute(model, kind, replace(request, parameters=group))
            assert sum(tensor.nbytes for tensor in some.values()) == planned.group_bytes(group) <= limit
            found |= some
        assert list(found) == list(whole)
        for name, expected in whole.items():
            assert relative_error(found[name], expected) < 1e-12, (limit, name)
        seen.add(planned.passes)
    assert len(seen) > 2


@pytest.mark.parametrize("structure", STRUCTURES)
def test_groups_are_as_large_as_they_can_be(structure: str) -> None:
    model, request = make(TinyViT), Request("ggn", structure)
    limit = max(plan(model, request).bytes_by_layer.values())
    planned = plan(model, request, limit)
    assert sum(planned.groups, ()) == tuple(planned.bytes_by_layer)
    for first, second in zip(planned.groups, planned.groups[1:], strict=False):
        assert planned.group_bytes((*first, second[0])) > limit, "greedy: the next layer would have fitted"


def test_bytes_by_hand() -> None:
    """TinyCNN's grouped [4, 2, 3, 1]: 2 groups of 2 outputs and 6 inputs; float64 as the model is."""
    model = make(TinyCNN)
    for structure, floats in [
        ("diagonal", 4 * 2 * 3),
        ("block5", 5 * 5 * 5),
        ("blockrow", 4 * 6 * 6),
        ("kfac", 2 * (6 * 6 + 2 * 2)),
        ("ekfac", 2 * (6 * 6 + 2 * 2 + 2 * 6)),
    ]:
        assert plan(model, Request("ggn", structure)).bytes_by_layer["grouped.weight"] == 8 * floats, (
            structure
        )
    single, double = Request("ggn", "block5"), Request("ggn", "block5", dtype=torch.float64)
    assert plan(model.float(), single).bytes_by_layer["grouped.weight"] == 4 * 5 * 5 * 5
    assert plan(model, double).bytes_by_layer["grouped.weight"] == 8 * 5 * 5 * 5


def test_description() -> None:
    model = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(3)))
    assert plan(model, Request("ggn", "diagonal"), 9 * 2**20).describe() == (
        "2 passes over the data; statistics of 12.0 MiB, at most 8.0 MiB at once (limit 9.0 MiB)\n"
        "pass 1: 0.weight to 1.weight, 2 layers, 8.0 MiB\n"
        "pass 2: 2.weight, 4.0 MiB"
    )
    assert plan(model, Request("ggn", "diagonal", parameters=("1.weight",))).describe() == (
        "1 pass over the data; statistics of 4.0 MiB, at most 4.0 MiB at once (no limit)\n"
        "pass 1: 1.weight, 4.0 MiB"
    )


def test_layers_that_do_not_fit_alone() -> None:
    message = "block5 statistic of a single layer must fit the memory limit of 1000 bytes.*: qkv.weight needs 2000 bytes"
    with pytest.raises(ObtransferError, match=message):
        plan(make(TinyViT), Request("ggn", "block5"), 1000)


def test_blocks_larger_than_a_layer_are_refused_before_anything_is_computed() -> None:
    with pytest.raises(ObtransferError, match="layers of at least 17 weights"):
        plan(make(TinyViT), Request("ggn", "block17"))
