"""Intervals for means over sources and tasks: both are resampled at once, because the same tasks have both roles.

Accuracy a[c, s, e, t] of criterion c pruned for source s with seed e on task t. Transfer of a run (s, e) is its mean
over t ≠ s, and runs count the same; source accuracy is the mean of a[c, s, e, s]. A resample draws T of the T tasks
with replacement, each m_t times, and E of the E seeds, each v_e times:

    transfer = Σ_se m_s v_e (Σ_{t≠s} m_t a[s, e, t] / Σ_{t≠s} m_t) / Σ_se m_s v_e,   source = Σ_se m_s v_e a[s, e, s] / Σ_se m_s v_e

A task drawn as a source is drawn as an unseen task too, so what pairs share through a task stays shared. The pair of a
task with itself never counts as transfer. Seeds are drawn once for all sources, because seed 0 of a criterion that reads
no data is the same mask for every source. All criteria see the same draws, so differences are paired. Draws that leave
no pair are drawn again. Tasks (as sources and as unseen tasks) and seeds are resampled. The images of a task
(calibration, test), the pre-training run and the backbone are not: the intervals say nothing about other ones. With few
sources they are too narrow, like any bootstrap of few units (`COVERAGE`).
Source: A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000
LEVEL = 0.95
FEWEST_SOURCES = 2
FEWEST_TASKS = 3
# Number of sources: the lowest and highest per cent of 1500 simulated tables whose interval held the truth. The tables
# have 13 tasks, one seed, and normal effects of source, task and pair: equal, or one of the first two three times the
# others.
COVERAGE = {2: (61, 90), 3: (81, 92), 4: (85, 92), 5: (88, 92), 8: (90, 92), 13: (90, 93)}
_DIGITS = 12


@dataclass(frozen=True)
class Accuracies:
    """The accuracies that criteria are compared on.

    Attributes:
        values: [C, S, E, T] accuracy in [0, 1]; anything finite where not `known`.
        known: [S, E, T] bool, whether all criteria have that (source, seed, task).
        own: [S] integer, the index of each source among the tasks.
    """

    values: np.ndarray
    known: np.ndarray
    own: np.ndarray

    @property
    def unseen(self) -> np.ndarray:
        """[S, E, T] bool: known, and the task is not the source."""
        return self.known & (np.arange(self.known.shape[2]) != self.own[:, None])[:, None, :]

    @property
    def on_source(self) -> np.ndarray:
        """[S, E] bool: the source's own accuracy is known."""
        return self.known[np.arange(len(self.own)), :, self.own]


@dataclass(frozen=True)
class Counts:
    """How often each draw contains each task, [R, T], and each seed, [R, E]."""

    tasks: np.ndarray
    seeds: np.ndarray


def once(data: Accuracies) -> Counts:
    """The sample itself: every task and seed once, R = 1."""
    _, seeds, tasks = data.known.shape
    return Counts(np.ones((1, tasks)), np.ones((1, seeds)))


def resample(data: Accuracies, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Counts:
    """Draw tasks and seeds with replacement.

    Draws without an unseen pair are drawn again, and so are draws without a source's own accuracy if there are any.

    Args:
        data: at least one unseen pair must be known.
        num_resamples: R.
        seed: of the draws; equal shapes, gaps and seeds give equal draws.
    """
    generator = np.random.default_rng(seed)
    _, num_seeds, num_tasks = data.known.shape
    tasks, seeds = np.empty((0, num_tasks)), np.empty((0, num_seeds))
    while len(tasks) < num_resamples:
        drawn = Counts(_draw(generator, num_resamples, num_tasks), _draw(generator, num_resamples, num_seeds))
        good = _weights(data, drawn).any(axis=1)
        if data.on_source.any():
            good &= (_runs(data, drawn) * data.on_source.ravel()).any(axis=1)
        tasks, seeds = np.concatenate([tasks, drawn.tasks[good]]), np.concatenate([seeds, drawn.seeds[good]])
    return Counts(tasks[:num_resamples], seeds[:num_resamples])


def source_means(data: Accuracies, counts: Counts) -> np.ndarray:
    """Mean accuracy on the source of every criterion and draw: [C, R], NaN where nothing is known."""
    weights = _runs(data, counts) * data.on_source.ravel()
    places = np.arange(len(data.own))
    sums = [weights @ values[places, :, data.own].ravel() for values in data.values]
    return _ratio(np.array(sums), weights.sum(axis=1))


def transfer_means(data: Accuracies, counts: Counts) -> np.ndarray:
    """Mean accuracy over unseen tasks of every criterion and draw: [C, R], NaN where nothing is known.

    Cost: C products of [R, T] with [T, S E].
    """
    unseen = _flat(data.unseen)
    weights = _weights(data, counts)
    shares = weights / np.maximum(counts.tasks @ unseen.T, 1.0)
    sums = [
        (shares * (counts.tasks @ (values.reshape(unseen.shape) * unseen).T)).sum(axis=1)
        for values in data.values
    ]
    return _ratio(np.array(sums), weights.sum(axis=1))


def interval(samples: np.ndarray) -> np.ndarray:
    """The percentile interval of `LEVEL` along the last axis: [..., 2], low and high."""
    tail = (1 - LEVEL) / 2
    return np.moveaxis(np.quantile(samples, [tail, 1 - tail], axis=-1), 0, -1)


def share_best(samples: np.ndarray) -> np.ndarray:
    """The share of draws in which each criterion of [C, R] is the highest; ties are divided equally: [C], sums to 1."""
    highest = samples == samples.max(axis=0)
    return (highest / highest.sum(axis=0)).mean(axis=1)


def _draw(generator: np.random.Generator, size: int, units: int) -> np.ndarray:
    return generator.multinomial(units, np.full(units, 1 / units), size=size).astype(float)


def _runs(data: Accuracies, counts: Counts) -> np.ndarray:
    """How often each run counts, m_s v_e: [R, S E]."""
    return np.einsum("rs,re->rse", counts.tasks[:, data.own], counts.seeds).reshape(
        len(counts.tasks), data.on_source.size
    )


def _weights(data: Accuracies, counts: Counts) -> np.ndarray:
    """`_runs`, 0 for runs that have no unseen task left."""
    return _runs(data, counts) * (counts.tasks @ _flat(data.unseen).T > 0)


def _flat(places: np.ndarray) -> np.ndarray:
    """[S, E, T] to [S E, T]."""
    sources, seeds, tasks = places.shape
    return places.reshape(sources * seeds, tasks)


def _ratio(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rounded, so that criteria that are equal in exact arithmetic are equal here too."""
    means = np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)
    return np.round(means, _DIGITS)
