"""What one run of the workflow shares between its threads: settings, journal, cluster, watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cluster import Cluster
from .commands import CommandError
from .ledger import Ledger, Record
from .mapping import Request
from .settings import ExecutorSettings
from .status import Watcher


@dataclass
class Ready:
    """A job that Snakemake wants to run now, with all that is needed to send it.

    `parts`: see `Record`; `after`: jobs that must have ended first; `record`: its last try to be sent in this run.
    """

    job: Any
    key: str
    fingerprint: str
    parts: dict[str, str]
    request: Request
    command: str
    after: tuple[str, ...] = ()
    record: Record | None = None


@dataclass
class Run:
    """`folder` is relative to the working directory; `tell` writes a line on the user's terminal."""

    settings: ExecutorSettings
    folder: Path
    workflow: Any
    ledger: Ledger
    cluster: Cluster
    watcher: Watcher
    tell: Callable[[str], None]

    def batch_folder(self, record: Record) -> Path:
        """Where that submission's files lie."""
        return self.folder / "batches" / record.token

    def trace(self, record: Record) -> Path:
        """Where that submission's job records its start and end."""
        return self.batch_folder(record) / f"{record.index}.json"

    def cancel(self, jobs: Sequence[str]) -> None:
        """Few calls: a whole array by one word, unless the journal knows of a task in it that must live."""
        alive = [
            record.job_id for record in self.ledger.records.values() if record.job_id and not record.ended
        ]
        try:
            calls = self.cluster.cancel(jobs, alive)
            self.tell(f"Cancelled {len(jobs)} jobs with {calls} call{'' if calls == 1 else 's'}.")
        except CommandError as error:
            self.tell(f"Cancelling failed ({error}). By hand: scancel {' '.join(jobs)}")
