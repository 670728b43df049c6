"""What the parts of the executor share while one workflow runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cluster.base import Cluster, CommandError, Request
from ..follow.poll import Poller
from ..job.outcome import read_all
from ..journal import Journal, Record, outcome_path
from ..settings import ExecutorSettings


@dataclass
class Ready:
    """A job that Snakemake wants to run now, with everything that its submission needs.

    Attributes:
        job: Snakemake's job.
        key, fingerprint, parts: see `Record`.
        request: what it requests.
        command: shell line of the Snakemake inside the job.
        after: ids of jobs that must have ended first.
        record: its last submission in this run.
    """

    job: Any
    key: str
    fingerprint: str
    parts: dict[str, str]
    request: Request
    command: str
    after: tuple[str, ...] = ()
    record: Record | None = None


Follow = Callable[[Ready, Record], None]  # called for each job that has an id on the cluster from now on


@dataclass
class Context:
    """`folder` is relative to the working directory; `tell` prints a line for the user."""

    settings: ExecutorSettings
    folder: Path
    workflow: Any
    journal: Journal
    cluster: Cluster
    poller: Poller
    tell: Callable[[str], None]

    def outcome(self, record: Record) -> Path:
        """Where that submission's job records its start and end."""
        return outcome_path(self.folder, record)

    def find(self, records: Iterable[Record]) -> list[str]:
        """The ids of jobs of one submission whose answer was not read: from the queue, else from the jobs' outcomes.

        "" for each job that was not found; raises CommandError if the cluster gave no answer.
        """
        records = list(records)
        found = self.cluster.find(records[0].token)
        return [found.get(r.index) or str(read_all(self.outcome(r)).get("job_id", "")) for r in records]

    def cancel(self, jobs: Sequence[str]) -> None:
        """Few calls: one word for a whole array, unless the journal has a task of it that must live."""
        alive = [r.job_id for r in self.journal.records.values() if r.job_id and not r.ended]
        try:
            calls = self.cluster.cancel(jobs, alive)
            self.tell(f"Cancelled {len(jobs)} jobs with {calls} call{'' if calls == 1 else 's'}.")
        except CommandError as error:
            self.tell(f"Cancelling failed ({error}). To do it by hand: scancel {' '.join(jobs)}")
