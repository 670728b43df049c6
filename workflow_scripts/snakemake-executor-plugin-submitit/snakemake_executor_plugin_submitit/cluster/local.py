"""This machine as a cluster: submitit's local and debug executors, to try a profile on a laptop."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..settings import ExecutorSettings
from .base import KILL_WAIT_S, Batch, Seen

_A_WEEK_MIN = 7 * 24 * 60


class LocalCluster:
    """Each job is a process group of this machine; its id is that of submitit's process around it."""

    forgets = False
    kill_wait_s = KILL_WAIT_S

    def __init__(self, settings: ExecutorSettings) -> None:
        self.settings = settings
        self._mine: dict[str, Any] = {}

    def max_batch(self) -> int:
        """As many as the user allows."""
        return self.settings.array_size

    def submit(self, batch: Batch) -> list[str]:
        """Start one process per step. Memory, partition and the like have no meaning here."""
        from submitit import LocalExecutor

        executor = LocalExecutor(batch.folder)
        executor.update_parameters(
            timeout_min=batch.request.runtime_min or _A_WEEK_MIN,
            gpus_per_node=batch.request.gpus,
            signal_delay_s=self.settings.signal_delay_s,
            stderr_to_stdout=True,
            setup=[self.settings.setup] if self.settings.setup else [],
        )
        jobs = [executor.submit(step) for step in batch.steps]
        self._mine |= {job.job_id: job for job in jobs}
        return [job.job_id for job in jobs]

    def observe(self, jobs: Sequence[str]) -> dict[str, Seen | None]:
        """RUNNING while the process lives; afterwards None, and the outcome file says how it ended."""
        return {job: Seen("RUNNING") if self._runs(job) else None for job in jobs}

    def find(self, token: str) -> dict[int, str]:
        """Nothing: a process is in the journal as soon as it has started."""
        return {}

    def cancel(self, jobs: Sequence[str], alive: Sequence[str]) -> int:
        """SIGTERM to submitit's process, which passes it on."""
        for job in jobs:
            if self._runs(job):
                os.kill(int(job), signal.SIGTERM)
        return len(jobs)

    def _runs(self, job: str) -> bool:
        if job in self._mine:
            return self._mine[job]._process.poll() is None
        try:
            return b"submitit" in Path(f"/proc/{job}/cmdline").read_bytes()
        except OSError:
            return False


class DebugCluster:
    """Jobs run one by one inside the controller, when they are submitted."""

    forgets = False
    kill_wait_s = KILL_WAIT_S

    def __init__(self, settings: ExecutorSettings) -> None:
        self.settings = settings
        self._count = 0

    def max_batch(self) -> int:
        """As many as the user allows."""
        return self.settings.array_size

    def submit(self, batch: Batch) -> list[str]:
        """Run every step to its end."""
        from submitit import DebugExecutor

        executor = DebugExecutor(batch.folder)
        for step in batch.steps:
            step.quiet = True  # an exception would open a debugger
            executor.submit(step).results()
        first = self._count
        self._count += len(batch.steps)
        return [f"debug-{number}" for number in range(first, self._count)]

    def observe(self, jobs: Sequence[str]) -> dict[str, Seen | None]:
        """None: all have ended, and the outcome file says how."""
        return {job: None for job in jobs}

    def find(self, token: str) -> dict[int, str]:
        """Nothing: no job outlives its submission."""
        return {}

    def cancel(self, jobs: Sequence[str], alive: Sequence[str]) -> int:
        """Nothing is running."""
        return 0
