"""The watch over all jobs: one query of the cluster per poll, and patience when it does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .cluster import Cluster
from .commands import CommandError, Seen
from .states import Verdict, backoff_s, decide
from .trace import Trace, read

_TELL_AFTER = 3  # failures in a row before the user hears of it
_TELL_EVERY_S = 600.0


class Watcher:
    """Remembers since when each job has looked as it does, and how often the cluster failed to answer."""

    def __init__(self, cluster: Cluster, patience_s: float, tell: Callable[[str], None]) -> None:
        self.cluster, self.tell = cluster, tell
        self.patience_s = patience_s if cluster.forgets else 0.0
        self.seen: dict[str, Seen | None] = {}
        self.failures = 0
        self._since: dict[str, float] = {}
        self._told_at = {"queue": float("-inf"), "accounting": float("-inf")}
        self._not_before = 0.0
        self._warned: set[str] = set()
        self._lock = threading.Lock()  # both the watching and the submitting thread ask

    def poll(self, traces: Mapping[str, Path], *, now: float | None = None) -> dict[str, Verdict]:
        """Job id → verdict for each id in `traces`; empty when the cluster gave no answer, or is not to be asked yet."""
        with self._lock:
            return self._poll(traces, time.monotonic() if now is None else now)

    def _poll(self, traces: Mapping[str, Path], now: float) -> dict[str, Verdict]:
        if not traces or now < self._not_before:
            return {}
        try:
            found = self.cluster.observe(list(traces))
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
        return {job: self._judge(job, seen, traces[job], now) for job, seen in found.items()}

    def forget(self, job: str) -> None:
        """Drop what is remembered of a job that is over."""
        for memory in (self.seen, self._since):
            memory.pop(job, None)

    def _judge(self, job: str, seen: Seen | None, trace: Path, now: float) -> Verdict:
        if job not in self._since or self.seen.get(job) != seen:
            self._since[job] = now
        self.seen[job] = seen
        unchanged = now - self._since[job]
        own = read(trace) if seen is None or seen.state == "FAILED" else Trace()  # most jobs: no file is read
        judged = decide(seen, own, unchanged_s=unchanged, patience_s=self.patience_s)
        if seen is not None and seen.reason in ("JobHeldUser", "JobHeldAdmin") and job not in self._warned:
            self._warned.add(job)
            self.tell(f"Job {job} is held ({seen.reason}) and waits for `scontrol release {job}`.")
        return judged

    def _complain(self, error: str, now: float) -> None:
        if self.failures >= _TELL_AFTER and self._may_tell("queue", now):
            self.tell(
                f"The cluster has not answered {self.failures} times in a row: {error}. Jobs go on there and nothing is "
                "lost; asking again, more and more rarely (every 2 min at most)."
            )

    def _complain_about_accounting(self, found: Mapping[str, Seen | None], now: float) -> None:
        complaint = getattr(self.cluster, "complaint", "")
        unknown = sum(1 for seen in found.values() if seen is None)
        if not complaint:
            self._told_at["accounting"] = float("-inf")
        if complaint and unknown and self._may_tell("accounting", now):
            self.tell(
                f"{unknown} jobs have left the queue and the accounting does not answer ({complaint}). Those that wrote "
                f"down their own end are taken by their word; the others are given up after {self.patience_s / 60:.0f} min."
            )

    def _may_tell(self, what: str, now: float) -> bool:
        if now - self._told_at[what] < _TELL_EVERY_S:
            return False
        self._told_at[what] = now
        return True
