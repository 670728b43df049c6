"""The queue between Snakemake and sbatch: collects ready jobs, packs equal ones, limits the rate, retries.

It works in a thread of its own, so that a cluster that refuses for minutes delays nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..cluster.base import Refused, Unclear
from ..cluster.words import backoff_s, clears_by_waiting, is_crowded

Item = TypeVar("Item")
_LONGEST = 20  # times `collect_s` that a job waits while others keep coming
_HOLD_S = 30.0  # the longest that a job waits for others while submitting it now would be useless


def pack(items: Iterable[Item], kind: Callable[[Item], Hashable], size: int) -> list[list[Item]]:
    """Items of equal kind together, at most `size` in one pack, in their order."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    return [
        group[first : first + size]
        for group in groups.values()
        for first in range(0, len(group), max(1, size))
    ]


def can_wait(new: Sequence[Hashable], live: Iterable[tuple[Hashable, str]]) -> bool:
    """Whether submitting the `new` jobs now would be useless.

    A new job would queue behind others as long as at least half of the jobs with its request are pending. Waiting ends when
    a quarter as many new jobs have come together, which makes a reasonable array.

    Args:
        new: the request of each.
        live: request and SLURM's last word, for each job that was submitted and has not ended.
    """
    states: dict[Hashable, Counter[bool]] = {}
    for request, state in live:
        states.setdefault(request, Counter())[state == "PENDING"] += 1
    for request, count in Counter(new).items():
        known = states.get(request, Counter())
        if known[True] < max(1, known[False]) or 4 * count >= known.total():
            return False
    return True


class Pace:
    """At most `per_minute` events in any minute."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._times: deque[float] = deque()

    def wait_s(self, now: float) -> float:
        """Seconds until the next event is allowed."""
        while self._times and now - self._times[0] >= 60:
            self._times.popleft()
        return 0.0 if len(self._times) < self.per_minute else 60 - (now - self._times[0])

    def count(self, now: float) -> None:
        """An event happens."""
        self._times.append(now)


@dataclass
class Pack:
    """Jobs to submit together, and the tries so far."""

    items: list[Any]
    failures: int = 0
    first_failure: float = 0.0
    not_before: float = 0.0


@dataclass
class Callbacks:
    """What the executor does for the queue; all are called from the queue's thread.

    Attributes:
        prepare: new jobs → packs of jobs to submit, and jobs that have to wait; jobs that need neither are missing.
        send: submit one pack; raises Refused.
        give_up: a pack that was refused for good, with the refusal.
        tell: a line for the user.
        broken: an unexpected error.
        can_wait: whether submitting these jobs now would be useless.
    """

    prepare: Callable[[list[Any]], tuple[list[list[Any]], list[Any]]]
    send: Callable[[list[Any]], None]
    give_up: Callable[[list[Any], Refused], None]
    tell: Callable[[str], None]
    broken: Callable[[Exception], None]
    can_wait: Callable[[list[Any]], bool] = lambda _: False


@dataclass
class SubmissionQueue:
    """The queue and its thread. `stop` returns when no sbatch is running; jobs that are still in the queue stay there."""

    callbacks: Callbacks
    collect_s: float
    patience_s: float
    pace: Pace
    packs: list[Pack] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._new: list[Any] = []
        self._wake = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def add(self, jobs: Sequence[Any]) -> None:
        """From Snakemake's thread."""
        with self._wake:
            self._new.extend(jobs)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="submitit")
                self._thread.start()
            self._wake.notify()

    def stop(self) -> None:
        """Stop submitting."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._stopped:
                with self._wake:
                    if not self._new:
                        self._wake.wait(self._pause())
                self._collect()
                if not self._stopped:
                    self._round()
        except Exception as error:  # noqa: BLE001 - the run must end with a message, not hang
            self.callbacks.broken(error)

    def _pause(self) -> float | None:
        if not self.packs:
            return None
        now = time.monotonic()
        due = min(pack.not_before for pack in self.packs)
        return max(0.05, due - now, self.pace.wait_s(now))

    def _collect(self) -> None:
        count, begun = -1, time.monotonic()
        while self._new and not self._stopped:
            waited = time.monotonic() - begun
            settled = count == len(self._new) or waited > _LONGEST * self.collect_s
            if settled and (waited > _HOLD_S or not self.callbacks.can_wait(list(self._new))):
                return
            count = len(self._new)
            time.sleep(max(0.2, self.collect_s) if settled else self.collect_s)

    def _round(self) -> None:
        with self._wake:
            new, self._new = self._new, []
        if new:
            packs, later = self.callbacks.prepare(new)
            self.packs += [Pack(items) for items in packs]
            if later:
                time.sleep(2.0)
                with self._wake:
                    self._new.extend(later)
        for waiting in list(self.packs):
            now = time.monotonic()
            if self._stopped or self.pace.wait_s(now) > 0:
                return
            if waiting.not_before <= now:
                self.packs.remove(waiting)
                self.pace.count(now)
                self._send(waiting)

    def _send(self, pack: Pack) -> None:
        try:
            self.callbacks.send(pack.items)
        except Refused as error:
            now, words, unclear = time.monotonic(), str(error), isinstance(error, Unclear)
            crowded = is_crowded(words) and not unclear
            pack.first_failure = pack.first_failure or now
            too_long = now - pack.first_failure >= self.patience_s and not crowded
            if too_long or not (unclear or clears_by_waiting(words)):
                self.callbacks.give_up(pack.items, error)
                return
            pack.failures += 1
            pack.not_before = now + backoff_s(pack.failures, first_s=5.0, most_s=60.0)
            if pack.failures in (1, 5, 20):
                what = "may have been submitted" if unclear else "were refused for now"
                then = "looking for them in the queue" if unclear else "trying again"
                self.callbacks.tell(f"{len(pack.items)} jobs {what} ({words}); {then}.")
            self.packs += _halved(pack) if crowded and len(pack.items) > 1 else [pack]


def _halved(pack: Pack) -> list[Pack]:
    middle = (len(pack.items) + 1) // 2
    return [
        Pack(half, pack.failures, pack.first_failure, pack.not_before)
        for half in (pack.items[:middle], pack.items[middle:])
    ]
