"""Polling: one query of the cluster for all jobs, and patience if it does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..cluster.base import Cluster, CommandError, Seen
from ..cluster.words import HELD, backoff_s
from ..job.outcome import Outcome, read
from .verdict import Verdict, decide

_TELL_AFTER = 3  # failures in a row before the user is informed
_TELL_EVERY_S = 600.0


class Poller:
    """Remembers how long each job has been in its state, and how often the cluster failed to answer."""

    def __init__(self, cluster: Cluster, patience_s: float, tell: Callable[[str], None]) -> None:
        self.cluster, self.tell = cluster, tell
        self.patience_s = patience_s if cluster.forgets else 0.0
        self.seen: dict[str, Seen | None] = {}
        self.failures = 0
        self._since: dict[str, float] = {}
        self._told_at = {"queue": float("-inf"), "accounting": float("-inf")}
        self._not_before = 0.0
        self._warned: set[str] = set()
        self._lock = threading.Lock()  # both Snakemake's polling thread and the queue's thread ask

    def poll(self, outcomes: Mapping[str, Path], *, now: float | None = None) -> dict[str, Verdict]:
        """Job id → verdict for each id in `outcomes` (id → outcome file); empty if there was no answer, or no query yet."""
        with self._lock:
            return self._poll(outcomes, time.monotonic() if now is None else now)

    def _poll(self, outcomes: Mapping[str, Path], now: float) -> dict[str, Verdict]:
        if not outcomes or now < self._not_before:
            return {}
        try:
            found = self.cluster.observe(list(outcomes))
        except CommandError as error:
            self.failures += 1
            self._not_before = now + backoff_s(self.failures)
            self._complain(str(error), now)
            return {}
        if self.failures >= _TELL_AFTER:
            self.tell("The cluster answers again.")
            self._told_at["queue"] = float("-inf")
        self.failures = 0
        self._complain_about_accounting(found, now)
        return {job: self._judge(job, seen, outcomes[job], now) for job, seen in found.items()}

    def forget(self, job: str) -> None:
        """Drop what is remembered of a job that is over."""
        for memory in (self.seen, self._since):
            memory.pop(job, None)

    def _judge(self, job: str, seen: Seen | None, outcome: Path, now: float) -> Verdict:
        if job not in self._since or self.seen.get(job) != seen:
            self._since[job] = now
        self.seen[job] = seen
        unchanged = now - self._since[job]
        own = (
            read(outcome) if seen is None or seen.state == "FAILED" else Outcome()
        )  # most jobs: no file is read
        judged = decide(seen, own, unchanged_s=unchanged, patience_s=self.patience_s)
        if seen is not None and seen.reason in HELD and job not in self._warned:
            self._warned.add(job)
            self.tell(f"Job {job} is held ({seen.reason}) and waits for `scontrol release {job}`.")
        return judged

    def _complain(self, error: str, now: float) -> None:
        if self.failures >= _TELL_AFTER and self._may_tell("queue", now):
            self.tell(
                f"The cluster has not answered {self.failures} times in a row: {error}. Jobs continue and nothing is "
                "lost; asking again with growing pauses (at most 2 min)."
            )

    def _complain_about_accounting(self, found: Mapping[str, Seen | None], now: float) -> None:
        complaint = getattr(self.cluster, "complaint", "")
        unknown = sum(1 for seen in found.values() if seen is None)
        if not complaint:
            self._told_at["accounting"] = float("-inf")
        if complaint and unknown and self._may_tell("accounting", now):
            self.tell(
                f"{unknown} jobs have left the queue and the accounting does not answer ({complaint}). For those that "
                f"recorded their own end this counts; the others are given up after {self.patience_s / 60:.0f} min."
            )

    def _may_tell(self, what: str, now: float) -> bool:
        if now - self._told_at[what] < _TELL_EVERY_S:
            return False
        self._told_at[what] = now
        return True
