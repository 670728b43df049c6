"""Random networks: what must not matter does not. Batches, order, groups of layers, shares, training mode."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import tiny_models
from exact_curvature import one_thread
from exact_definitions import LOSSES, assert_equal, prunable
from obtransfer.curvature.merge import merge
from obtransfer.curvature.plan import plan
from obtransfer.registry import STRUCTURES
from random_networks import Case, cases
from tiny_models import numbered, statistic
from torch import Tensor

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Using padding='same'")]
SETTINGS = settings(max_examples=12, derandomize=True, deadline=None, database=None)
QUESTIONS = list(product(["ggn", "mc_fisher", "empirical_fisher"], ["diagonal", "block", "kfac"]))
every_question = pytest.mark.parametrize(("estimator", "structure"), QUESTIONS)
Question = tuple[Case, dict[str, Any]]


@st.composite
def questions(draw: st.DrawFn, estimator: str, structure: str, max_examples: int = 4) -> Question:
    """Of what to compute what: the second as arguments of `statistic`."""
    case = draw(cases(max_examples))
    sizes = st.just("row") | st.integers(1, max(case.sizes().values()))
    asked = {
        "estimator": estimator,
        "structure": structure,
        "loss": draw(st.sampled_from(sorted(LOSSES))),
        "block_size": draw(sizes) if structure == "block" else 1,
        "seed": draw(st.integers(0, 10)),
    }
    return case, asked | ({"num_samples": draw(st.integers(1, 2))} if estimator == "mc_fisher" else {})


def layers(case: Case, request: Mapping[str, Any]) -> tuple[str, ...]:
    """All but those with fewer weights than a block, which would be refused."""
    size = 1 if request["block_size"] == "row" else request["block_size"]
    return tuple(name for name, weights in case.sizes().items() if weights >= size)


def compute(
    case: Case, request: Mapping[str, Any], batches: Sequence[Sequence[Tensor]] = (), **more: Any
) -> dict[str, Tensor]:
    """By default of all examples in one batch, and of all layers."""
    arguments = {"parameters": layers(case, request)} | dict(request) | more
    return statistic(case.model, case.head, batches or [(case.images, case.labels)], **arguments)


def assert_same(computed: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(computed) == list(expected)
    for name, exact in expected.items():
        assert_equal(computed[name], exact, name)


@every_question
@one_thread()
def test_batches_and_order(estimator: str, structure: str) -> None:
    @SETTINGS
    @given(questions(estimator, structure, max_examples=6), st.data())
    def equal(question: Question, data: st.DataObject) -> None:
        case, request = question
        order = torch.tensor(data.draw(st.permutations(range(len(case.images)))))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))  # some batches are empty
        expected = compute(case, request)
        mixed = [(case.images[part], case.labels[part], part) for part in order.tensor_split(cuts)]
        assert_same(compute(case, request, mixed), expected)
        counted = list(zip(case.images.tensor_split(cuts), case.labels.tensor_split(cuts), strict=True))
        assert_same(compute(case, request, counted), expected)

    equal()


@every_question
@one_thread()
def test_groups_of_layers(estimator: str, structure: str) -> None:
    """With the least memory that will do, in as many passes as that takes."""

    @SETTINGS
    @given(questions(estimator, structure))
    def equal(question: Question) -> None:
        case, request = question
        names = layers(case, request)
        asked = tiny_models.request(**request, parameters=names, dtype=torch.float64)
        limit = max(plan(case.model, asked).bytes_by_layer.values())
        planned = plan(case.model, asked, limit)
        assert sum(planned.groups, ()) == names
        assert all(sum(planned.bytes_by_layer[name] for name in group) <= limit for group in planned.groups)
        expected = compute(case, request)
        assert sum(planned.bytes_by_layer.values()) == sum(v.numel() * v.itemsize for v in expected.values())
        found: dict[str, Tensor] = {}
        for group in planned.groups:
            found |= compute(case, request, parameters=group)
        assert_same(found, expected)

    equal()


@every_question
@one_thread()
def test_a_choice_of_layers(estimator: str, structure: str) -> None:
    @SETTINGS
    @given(questions(estimator, structure), st.data())
    def equal(question: Question, data: st.DataObject) -> None:
        case, request = question
        chosen = data.draw(st.lists(st.sampled_from(layers(case, request)), min_size=1, unique=True))
        expected = {n: v for n, v in compute(case, request).items() if n.split(":")[0] in chosen}
        computed = compute(case, request, parameters=tuple(chosen))
        assert_same({name: computed[name] for name in expected}, expected)
        assert len(computed) == len(expected)

    equal()


@every_question
@one_thread()
def test_shares_of_the_examples_merge_to_the_whole(estimator: str, structure: str) -> None:
    @SETTINGS
    @given(questions(estimator, structure, max_examples=6), st.data())
    def equal(question: Question, data: st.DataObject) -> None:
        case, request = question
        cuts = sorted(data.draw(st.lists(st.integers(0, len(case.images)), max_size=3)))
        shares, start = [], 0
        for images, labels in zip(
            case.images.tensor_split(cuts), case.labels.tensor_split(cuts), strict=True
        ):
            if len(images):
                share = compute(case, request, list(numbered([(images, labels)], start)))
                shares.append(({name: value.numpy() for name, value in share.items()}, len(images)))
                start += len(images)
        merged = {
            name: torch.from_numpy(value) for name, value in merge(shares, STRUCTURES[structure]).items()
        }
        assert_same(merged, compute(case, request))

    equal()


@every_question
@one_thread()
def test_the_model_comes_back_as_it_was_and_its_mode_does_not_matter(estimator: str, structure: str) -> None:
    @SETTINGS
    @given(questions(estimator, structure))
    def equal(question: Question) -> None:
        case, request = question
        before = {name: value.clone() for name, value in case.model.state_dict().items()}
        modes = [module.training for module in case.model.modules()]
        first = compute(case, request)
        assert [module.training for module in case.model.modules()] == modes
        assert all(torch.equal(case.model.state_dict()[name], value) for name, value in before.items())
        assert all(parameter.grad is None for parameter in case.model.parameters())
        for module in case.model.modules():
            assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
        case.model.train(not case.model.training)
        second = compute(case, request)
        assert all(torch.equal(first[name], second[name]) for name in first)

    equal()


@every_question
@one_thread()
def test_frozen_layers_get_the_same_numbers_and_stay_frozen(estimator: str, structure: str) -> None:
    @SETTINGS
    @given(questions(estimator, structure), st.data())
    def equal(question: Question, data: st.DataObject) -> None:
        case, request = question
        expected, names = compute(case, request), prunable(case.model)
        frozen = data.draw(st.lists(st.sampled_from(names), unique=True))
        for name in frozen:
            case.model.get_parameter(name).requires_grad_(False)
        assert_same(compute(case, request), expected)
        assert [n for n in names if not case.model.get_parameter(n).requires_grad] == [
            n for n in names if n in frozen
        ]

    equal()
