"""Random networks: diagonal, blocks and rows of every layer against per-example autograd, for both losses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from exact_curvature import blocks_of, full_matrix, one_thread
from exact_definitions import (
    ESTIMATORS,
    LOSSES,
    Vectors,
    assert_equal,
    gradients_of,
    observe,
    prunable,
    vectors_of,
)
from obtransfer import registry
from obtransfer.curvature.per_example import block_kernel, diagonal_kernel
from obtransfer.registry import resolve
from random_networks import Case, cut_cases
from tiny_models import numbered, statistic
from torch import Tensor

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Using padding='same'")]
SETTINGS = settings(max_examples=50, derandomize=True, deadline=None, database=None)


@contextmanager
def in_parts(floats_at_once: int) -> Iterator[None]:
    """Cut layers as if memory held no more: their size in real networks, many times their size here."""
    with ExitStack() as stack:
        for module in (diagonal_kernel, block_kernel):
            stack.enter_context(mock.patch.object(module, "FLOATS_AT_ONCE", floats_at_once))
        yield


def check(
    case: Case, block_size: int, floats_at_once: int, vectors: Vectors, first: int = 0, **asked: object
) -> None:
    """Every structure is what it should be of the full matrix of every layer, for examples counted from `first`."""

    def compute(structure: str, size: int | str, names: list[str]) -> dict[str, Tensor]:
        found = statistic(
            case.model,
            case.head,
            list(numbered([(case.images, case.labels)], first)),
            structure=structure,
            block_size=size,
            parameters=tuple(names),
            **asked,
        )
        assert list(found) == names
        return found

    names = prunable(case.model)
    large = [name for name, size in case.sizes().items() if size >= block_size]  # the others would be refused
    with in_parts(floats_at_once):
        diagonals, rows = compute("diagonal", 1, names), compute("block", "row", names)
        blocks = compute("block", block_size, large)
    for name, seen in observe(case.model, case.head, case.images, vectors).items():
        matrix, shape = full_matrix(gradients_of(seen)), case.model.get_parameter(name).shape
        assert_equal(diagonals[name], matrix.diagonal().reshape(shape), name)
        assert_equal(rows[name], blocks_of(matrix, shape.numel() // shape[0]), name)
        if name in large:
            assert_equal(blocks[name], blocks_of(matrix, block_size), name)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@one_thread()
def test_estimators_without_chance(estimator: str, loss: str) -> None:
    @SETTINGS
    @given(cut_cases())
    def equal(drawn: tuple[Case, int, int]) -> None:
        check(*drawn, vectors_of(drawn[0].labels, loss, estimator), estimator=estimator, loss=loss)

    equal()


@pytest.mark.parametrize("loss", LOSSES)
@one_thread()
def test_the_monte_carlo_one_given_its_draws(loss: str) -> None:
    """With the very vectors that it draws for an example; that those are unbiased is another test's matter."""

    @SETTINGS
    @given(cut_cases(), st.integers(1, 3), st.integers(0, 2**40), st.integers(0, 9))
    def equal(drawn: tuple[Case, int, int], num_samples: int, seed: int, first: int) -> None:
        def vectors(logits: Tensor, number: int) -> Tensor:
            index = torch.tensor([first + number])
            sample = resolve(registry.LOSSES[loss]).sample(logits[None], num_samples, seed, index)
            return sample[:, 0] / num_samples**0.5

        asked = {"num_samples": num_samples, "seed": seed, "first": first}
        check(*drawn, vectors, estimator="mc_fisher", loss=loss, **asked)

    equal()
