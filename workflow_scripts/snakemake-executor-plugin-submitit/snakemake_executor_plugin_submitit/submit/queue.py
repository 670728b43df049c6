"""The queue between Snakemake and sbatch: collects ready jobs, packs equal ones, keeps the pace, tries again.

It works in a thread of its own, so that a controller that refuses for minutes holds up nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .cluster import Refused
from .states import backoff_s, clears_by_waiting, is_crowded

Item = TypeVar("Item")
_LONGEST = 20  # times `collect_s` that a job waits for others that come in all the time
_HOLD_S = 30.0  # how long it waits at most for others while sending it now would be of no use


def pack(items: Iterable[Item], kind: Callable[[Item], Hashable], size: int) -> list[list[Item]]:
    """Items of equal kind together, at most `size` in one pack, in the order in which they came."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    return [
        group[first : first + size]
        for group in groups.values()
        for first in range(0, len(group), max(1, size))
    ]


def can_wait(new: Sequence[Hashable], live: Iterable[tuple[Hashable, str]]) -> bool:
    """Whether it is of no use to send the `new` jobs now.

    So it is while at least as many jobs that ask for the same are pending as are not: a new one would queue behind them. It
    ends when a quarter as many have come together, which makes a decent array.

    Args:
        new: what each of them asks for.
        live: what each job asks for that was sent and has not ended, and SLURM's last word on it.
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
    """Jobs to be sent together, and how that has gone so far."""

    items: list[Any]
    failures: int = 0
    first_failure: float = 0.0
    not_before: float = 0.0


@dataclass
class Callbacks:
    """What the executor does for the queue; all are called from its thread.

    Attributes:
        prepare: new jobs → packs of jobs to send; jobs that it dealt with itself are missing, and those that have to wait
            are returned second.
        send: submit one pack; raises Refused.
        give_up: a pack that was refused for good, with the cluster's words.
        tell: a line for the user.
        broken: an unexpected error.
        can_wait: whether it is of no use to send these jobs already.
    """

    prepare: Callable[[list[Any]], tuple[list[list[Any]], list[Any]]]
    send: Callable[[list[Any]], None]
    give_up: Callable[[list[Any], str], None]
    tell: Callable[[str], None]
    broken: Callable[[Exception], None]
    can_wait: Callable[[list[Any]], bool] = lambda _: False


@dataclass
class Submitter:
    """The thread. `stop` returns when no sbatch is running any more; what was not sent stays unsent."""

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
        """Stop sending."""
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
            now, words = time.monotonic(), str(error)
            pack.first_failure = pack.first_failure or now
            too_long = now - pack.first_failure >= self.patience_s and not is_crowded(words)
            if not clears_by_waiting(words) or too_long:
                self.callbacks.give_up(pack.items, words)
                return
            pack.failures += 1
            pack.not_before = now + backoff_s(pack.failures, first_s=5.0, most_s=60.0)
            if pack.failures in (1, 5, 20):
                self.callbacks.tell(f"{len(pack.items)} jobs were refused for now ({words}); trying again.")
            self.packs += _halved(pack) if is_crowded(words) and len(pack.items) > 1 else [pack]


def _halved(pack: Pack) -> list[Pack]:
    middle = (len(pack.items) + 1) // 2
    return [
        Pack(half, pack.failures, pack.first_failure, pack.not_before)
        for half in (pack.items[:middle], pack.items[middle:])
    ]
