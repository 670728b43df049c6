"""The interface of a cluster, and the values that pass through it: requests, batches, states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..job.step import Step

KILL_WAIT_S = 30.0  # SLURM's default


class CommandError(RuntimeError):
    """A command failed, took too long or does not exist."""


class Refused(RuntimeError):
    """A submission was not accepted; the message is the cluster's own."""


class Unclear(Refused):
    """A submission was probably accepted, but its jobs were not found yet: it must not be sent again."""


@dataclass(frozen=True)
class Request:
    """What one job requests; jobs with equal requests share an array. Memory in MB, time in minutes."""

    cpus: int = 1
    runtime_min: int | None = None
    mem_mb: int | None = None
    mem_mb_per_cpu: int | None = None
    gpus: int = 0
    gpu_model: str = ""
    gres: str = ""
    nodes: int = 1
    tasks: int = 1
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    extra: tuple[tuple[str, str | bool], ...] = ()
    checkpoint: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The fields that differ from an empty request, for the journal."""
        empty = asdict(Request())
        set_here = {name: value for name, value in asdict(self).items() if value != empty[name]}
        if self.extra:
            set_here["extra"] = [list(pair) for pair in self.extra]
        return set_here


@dataclass(frozen=True)
class Batch:
    """Jobs with one request that are submitted together.

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


@dataclass(frozen=True)
class Seen:
    """How the cluster describes a job: `state` is the bare word (`CANCELLED`, not `CANCELLED by 0`)."""

    state: str
    node: str = ""
    reason: str = ""
    exit_code: str = ""
    comment: str = ""


class Cluster(Protocol):
    """Submits, observes and cancels jobs by their ids."""

    forgets: bool  # whether a job that is unknown to the cluster may still run
    kill_wait_s: float  # from the SIGTERM that ends a job to its SIGKILL; known after `max_batch`

    def max_batch(self) -> int:
        """How many jobs one submission can hold."""

    def submit(self, batch: Batch) -> list[str]:
        """The new jobs' ids, in the order of `batch.steps`. Raises Refused."""

    def observe(self, jobs: Sequence[str]) -> dict[str, Seen | None]:
        """Every job's state, None if it is unknown; raises CommandError if the cluster gave no answer."""

    def find(self, token: str) -> dict[int, str]:
        """Position in its batch → id, for the jobs of a submission whose answer was not read."""

    def cancel(self, jobs: Sequence[str], alive: Sequence[str]) -> int:
        """Cancel jobs, which are some of those `alive`; returns the number of calls."""
