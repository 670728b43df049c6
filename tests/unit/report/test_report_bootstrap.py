"""The bootstrap over tasks, against plain loops, a binomial distribution and simulated truth."""

import random
from collections.abc import Iterator
from itertools import product
from math import floor
from statistics import fmean

import numpy as np
import pytest
from obtransfer.report.bootstrap import (
    COVERAGE,
    Accuracies,
    Counts,
    interval,
    once,
    resample,
    share_best,
    source_means,
    transfer_means,
)
from scipy.stats import binom

GAPS = {(0, 0, 2), (0, 1, 1), (1, 0, 4), (1, 1, 0), (1, 1, 2), (1, 1, 3), (1, 1, 4), (2, 1, 3)}


def table(num_criteria: int = 3, *, gaps: set[tuple[int, int, int]] = GAPS) -> Accuracies:
    """Three sources (tasks 3, 0 and 1 of five), two seeds; run (1, 1) has its own task only: source 1 is task 0."""
    generator = np.random.default_rng(5)
    known = np.ones((3, 2, 5), dtype=bool)
    for place in gaps - {(1, 1, 0)}:
        known[place] = False
    known[1, 1, 1] = not gaps
    return Accuracies(generator.random((num_criteria, 3, 2, 5)), known, np.array([3, 0, 1]))


def slow_means(data: Accuracies, criterion: int, tasks: list[int], seeds: list[int]) -> tuple[float, float]:
    """(source, transfer) of one draw, given as lists of drawn tasks and seeds."""
    sources, transfers = [], []
    for task, seed in product(tasks, seeds):
        if task not in data.own:
            continue
        source = list(data.own).index(task)
        own = data.values[criterion, source, seed]
        unseen = [float(own[other]) for other in tasks if other != task and data.known[source, seed, other]]
        if data.known[source, seed, task]:
            sources.append(float(own[task]))
        if unseen:
            transfers.append(fmean(unseen))
    return (fmean(sources) if sources else float("nan")), (fmean(transfers) if transfers else float("nan"))


def slow_percentile(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def as_lists(draws: Counts) -> Iterator[tuple[list[int], list[int]]]:
    for tasks, seeds in zip(draws.tasks, draws.seeds, strict=True):
        yield tuple(
            [unit for unit, times in enumerate(row) for _ in range(int(times))] for row in (tasks, seeds)
        )


@pytest.mark.parametrize("gaps", [set(), GAPS], ids=["complete", "with gaps"])
def test_every_draw_equals_plain_loops(gaps: set) -> None:
    data = table(gaps=gaps)
    draws = resample(data, num_resamples=300, seed=3)
    source, transfer = source_means(data, draws), transfer_means(data, draws)
    for index, (tasks, seeds) in enumerate(as_lists(draws)):
        assert (len(tasks), len(seeds)) == (5, 2)
        for criterion in range(3):
            expected = slow_means(data, criterion, tasks, seeds)
            assert (source[criterion, index], transfer[criterion, index]) == pytest.approx(
                expected, abs=1e-11
            )


def test_the_sample_itself_is_every_unit_once() -> None:
    data = table()
    expected = slow_means(data, 1, list(range(5)), [0, 1])
    assert (source_means(data, once(data))[1, 0], transfer_means(data, once(data))[1, 0]) == pytest.approx(
        expected
    )


def test_intervals_equal_a_bootstrap_of_lists() -> None:
    """Its own draws: the ends agree to the noise of 3000 resamples (standard error of a 2.5 % quantile, about 0.01)."""
    data = table()
    generator = random.Random(11)
    samples: list[float] = []
    while len(samples) < 3000:
        tasks, seeds = generator.choices(range(5), k=5), generator.choices(range(2), k=2)
        first, second = (slow_means(data, criterion, tasks, seeds) for criterion in (0, 1))
        if not np.isnan([*first, *second]).any():
            samples.append(first[1] - second[1])
    sampled = transfer_means(data, resample(data, num_resamples=3000))
    low, high = interval(sampled[0] - sampled[1])
    expected = slow_percentile(samples, 0.025), slow_percentile(samples, 0.975)
    assert (low, high) == pytest.approx(expected, abs=0.03)
    assert expected[1] - expected[0] > 0.3


def test_percentiles_and_shares_against_sorted_lists() -> None:
    samples = np.random.default_rng(2).normal(size=(2, 501))
    for row, found in zip(samples, interval(samples), strict=True):
        assert found == pytest.approx([slow_percentile(list(row), share) for share in (0.025, 0.975)])
    assert share_best(np.array([[1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 3.0, 5.0], [0.0, 0.0, 3.0, 0.0]])) == (
        pytest.approx([(1 / 2 + 1 + 1 / 3) / 4, (1 / 2 + 1 / 3 + 1) / 4, (1 / 3) / 4])
    )


def test_source_accuracy_of_right_and_wrong_is_binomial() -> None:
    """Twelve tasks, all sources, seven right: the mean of a resample is Binomial(12, 7/12) / 12."""
    values = np.zeros((1, 12, 1, 12))
    values[0, :7, 0] = 1.0
    data = Accuracies(values, np.ones((12, 1, 12), dtype=bool), np.arange(12))
    samples = source_means(data, resample(data, num_resamples=20_000))[0]
    assert interval(samples) == pytest.approx(binom.ppf([0.025, 0.975], 12, 7 / 12) / 12, abs=1e-9)
    assert samples.std() == pytest.approx(binom.std(12, 7 / 12) / 12, rel=0.03)


def test_units_are_drawn_alike_and_draws_repeat() -> None:
    data = table(gaps=set())
    draws = resample(data, num_resamples=4000)
    assert draws.tasks.shape == (4000, 5) and (draws.tasks.sum(axis=1) == 5).all()
    assert draws.seeds.shape == (4000, 2) and (draws.seeds.sum(axis=1) == 2).all()
    assert draws.seeds.mean(axis=0) == pytest.approx([1, 1], abs=0.05)
    # The two tasks that are no source (2 and 4) are drawn a little less: a draw without a source is not used.
    assert draws.tasks.mean(axis=0)[[0, 1, 3]] == pytest.approx([1, 1, 1], abs=0.08)
    again = resample(data, num_resamples=4000)
    assert (again.tasks == draws.tasks).all() and (again.seeds == draws.seeds).all()
    assert (resample(data, num_resamples=4000, seed=1).tasks != draws.tasks).any()


def test_every_draw_leaves_an_unseen_pair_and_a_source() -> None:
    known = np.ones((2, 3, 9), dtype=bool)
    known[0, :2] = False
    data = Accuracies(np.full((1, 2, 3, 9), 0.5), known, np.array([4, 7]))
    draws = resample(data)
    assert (source_means(data, draws) == 0.5).all()
    assert (transfer_means(data, draws) == 0.5).all()


def test_a_summary_without_source_rows_has_no_source_accuracy() -> None:
    known = np.ones((2, 1, 4), dtype=bool)
    known[[0, 1], :, [0, 1]] = False
    data = Accuracies(np.full((1, 2, 1, 4), 0.5), known, np.array([0, 1]))
    draws = resample(data, num_resamples=50)
    assert np.isnan(source_means(data, draws)).all()
    assert (transfer_means(data, draws) == 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_sources", COVERAGE)
def test_intervals_cover_as_often_as_stated(num_sources: int) -> None:
    """400 simulated tables of each kind; the standard error of a share is at most 2.5 points."""
    generator = np.random.default_rng(1)
    shares = []
    for of_source, of_task, of_pair in ((1.0, 1.0, 1.0), (1.0, 0.3, 0.3), (0.3, 1.0, 0.3)):
        held = 0
        for _ in range(400):
            values = (
                of_source * generator.normal(size=(1, num_sources, 1, 1))
                + of_task * generator.normal(size=(1, 1, 1, 13))
                + of_pair * generator.normal(size=(1, num_sources, 1, 13))
            )
            data = Accuracies(values, np.ones((num_sources, 1, 13), dtype=bool), np.arange(num_sources))
            low, high = interval(transfer_means(data, resample(data, num_resamples=500))[0])
            held += low <= 0 <= high
        shares.append(100 * held / 400)
    assert (min(shares), max(shares)) == pytest.approx(COVERAGE[num_sources], abs=5)
