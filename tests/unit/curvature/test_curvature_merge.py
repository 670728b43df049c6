"""Shares of the examples, merged, are the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from exact_curvature import relative_error
from obtransfer.curvature.merge import merge
from obtransfer.errors import ObtransferError
from obtransfer.registry import STRUCTURES
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head, numbered, statistic
from torch import Tensor, nn

COUNT, DIAGONAL = 7, STRUCTURES["diagonal"]
Arrays = dict[str, np.ndarray]


def arrays(found: dict[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in found.items()}


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("estimator", ["ggn", "mc_fisher", "empirical_fisher"])
@pytest.mark.parametrize("structure", ["diagonal", "block", "kfac", "ekfac"])
def test_shares_are_the_whole(kind: type[nn.Module], estimator: str, structure: str) -> None:
    model, (images, labels) = make(kind), make_examples(kind.input_shape, COUNT)
    options: dict[str, Any] = {"estimator": estimator, "loss": "cross_entropy", "block_size": 5}

    def compute(structure: str, start: int, stop: int, **more: Any) -> dict[str, Tensor]:
        batches = list(numbered([(images[start:stop], labels[start:stop])], start))
        return statistic(model, make_head(4), batches, structure=structure, **options, **more)

    factors = compute("kfac", 0, COUNT) if structure == "ekfac" else None
    whole = compute(structure, 0, COUNT, prior=factors)
    bounds = [(0, 1), (1, 4), (4, COUNT)]
    shares = [(arrays(compute(structure, *b, prior=factors)), b[1] - b[0]) for b in bounds]
    merged = merge(shares, STRUCTURES[structure])
    assert list(merged) == list(whole)
    for name, expected in whole.items():
        assert relative_error(torch.from_numpy(merged[name]), expected) < 1e-12, name


def test_by_hand_and_in_float64() -> None:
    """Two counts in float32 whose products are not: (3 · 0.1 + 16777217 · 0.3) / 16777220."""
    first, second = np.array([0.1], dtype=np.float32), np.array([0.3], dtype=np.float32)
    found = merge([({"w": first}, 3), ({"w": second}, 2**24 + 1)], DIAGONAL)["w"]
    expected = (3 * float(first[0]) + (2**24 + 1) * float(second[0])) / (2**24 + 4)
    assert found.dtype == np.float32
    assert found[0] == np.float32(expected)
    np.testing.assert_allclose(
        merge([({"w": np.array([1.0])}, 1), ({"w": np.array([4.0])}, 2)], DIAGONAL)["w"], [3.0]
    )
    np.testing.assert_array_equal(first, np.array([0.1], dtype=np.float32))


def test_ekfac_shares_with_their_own_bases() -> None:
    model, (images, labels) = make(TinyViT), make_examples(TinyViT.input_shape, COUNT)
    shares = []
    for part in (slice(0, 3), slice(3, COUNT)):
        batches = [(images[part], labels[part])]
        options: dict[str, Any] = {"estimator": "ggn"}
        factors = statistic(model, make_head(4), batches, structure="kfac", **options)
        found = statistic(model, make_head(4), batches, structure="ekfac", prior=factors, **options)
        shares.append((arrays(found), len(batches[0][0])))
    message = (
        "another patch_embed.weight:input_basis in share 2 than in share 1; merge the kfac shares first, and give "
        "every share the result as `prior`"
    )
    with pytest.raises(ObtransferError, match=message):
        merge(shares, STRUCTURES["ekfac"])


def test_bases_are_not_averaged() -> None:
    basis = np.eye(2)[None]
    parts = [
        ({"w:input_basis": basis + 1e-8 * shift, "w:eigenvalues": np.array([float(shift)])}, 1)
        for shift in (0, 1)
    ]
    merged = merge(parts, STRUCTURES["ekfac"])
    np.testing.assert_array_equal(merged["w:input_basis"], basis)
    np.testing.assert_array_equal(merged["w:eigenvalues"], [0.5])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one share"),
        ([({"w": np.ones(2)}, 0)], "got 0 in share 1"),
        ([({"w": np.ones(2)}, 3), ({"w": np.ones(2)}, -1)], "got -1 in share 2"),
        (
            [({"w": np.ones(2), "v": np.ones(2)}, 1), ({"w": np.ones(2), "u": np.ones(2)}, 1)],
            "only one of the shares 1 and 2 has: u, v",
        ),
        (
            [({"w": np.ones(2)}, 1), ({"w": np.ones((2, 2))}, 1)],
            r"w of \(2,\) in share 1 and of \(2, 2\) in share 2",
        ),
    ],
)
def test_refusals(parts: list[tuple[Arrays, int]], message: str) -> None:
    with pytest.raises(ObtransferError, match=message):
        merge(parts, DIAGONAL)
