"""What the executor needs of a place that runs jobs; `slurm.py` and `local.py` are such places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .commands import Seen
from .mapping import Request
from .settings import ExecutorSettings
from .step import Step


class Refused(RuntimeError):
    """A submission that was not accepted, in the cluster's own words."""


@dataclass(frozen=True)
class Batch:
    """Jobs with one request that go in one submission.

    Attributes:
        token: names the submission, here and (as a comment) on the cluster.
        name: what the queue shows.
        folder: for submission files, relative to the working directory.
        after: ids of jobs that must have ended before these start.
    """

    token: str
    name: str
    folder: Path
    request: Request
    steps: tuple[Step, ...]
    after: tuple[str, ...] = ()


class Cluster(Protocol):
    """Submits, observes and cancels jobs by their ids."""

    forgets: bool  # whether a job that is unknown to the cluster may still run
    calls: Counter[str]  # how often each command was run
    kill_wait_s: float  # from the TERM that ends a job to the KILL; known after `max_batch`

    def max_batch(self) -> int:
        """How many jobs one submission can hold."""

    def submit(self, batch: Batch) -> list[str]:
        """The new jobs' ids, in the order of `batch.steps`. Raises Refused."""

    def observe(self, jobs: Sequence[str]) -> dict[str, Seen | None]:
        """Every job's state, None where it is unknown; raises CommandError if the cluster gave no answer."""

    def find(self, token: str) -> dict[int, str]:
        """Position in its batch → id, for the jobs of a submission whose answer was never read."""

    def cancel(self, jobs: Sequence[str], alive: Sequence[str]) -> int:
        """Cancel jobs out of those `alive`; returns the number of calls."""


def make_cluster(settings: ExecutorSettings) -> Cluster:
    """The cluster that the settings name."""
    if settings.cluster == "slurm":
        from .slurm import SlurmCluster

        return SlurmCluster(settings)
    from .local import DebugCluster, LocalCluster

    return LocalCluster(settings) if settings.cluster == "local" else DebugCluster(settings)
