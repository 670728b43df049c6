"""One step inside its job: wait for its inputs, run it under `watch`, write its outcome, put the job back in the queue.

`program` calls a `Step` on the node; submitit does so with `--submitit-cluster local`.

Signals: a step with `checkpoint=1` receives SIGUSR2 some time before its time limit (from SLURM if it runs under srun, else
from `watch`). The Snakemake inside the job would die of SIGUSR2, so it starts with the signal ignored, and its children
inherit that: only a step that installs a handler receives it. NCCL uses SIGUSR1, hence SIGUSR2.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import outcome
from .watch import Watch

_LOCAL_REQUEUE_STATUS = 144  # submitit's local executor starts a job with this exit status again
_GIVEN_UP, _NO_INPUT = 75, 66
_KILLED = 137
_KILLED_WORDS = re.compile(rb"(?m)^.*(died with <Signals\.SIGKILL: 9>|returned non-zero exit status 137)\.$")


class StepError(RuntimeError):
    """The step failed; its own words are in the log."""


@dataclass
class Step:
    """One job of the workflow.

    Attributes:
        command: shell line that runs Snakemake on exactly this job.
        folder: working directory of the workflow.
        log: file for the step's output; a restart appends to it.
        outcome: file in which the job records its start and end.
        wait_for: inputs that must be visible on the node first (shared file systems show new files late).
        latency_wait_s: how long to wait for them.
        checkpoint: whether the step saves its state on SIGUSR2 and can resume.
        warning_s: how long before the time limit SIGUSR2 comes.
        restarts: how often the job may start again.
        kill_wait_s: how long SLURM waits between SIGTERM and SIGKILL when it ends a job.
        quiet: return the exit status instead of raising (`--submitit-cluster debug`).
    """

    command: str
    folder: str
    log: str
    outcome: str
    wait_for: tuple[str, ...] = ()
    latency_wait_s: float = 5.0
    checkpoint: bool = False
    warning_s: int = 120
    restarts: int = 10
    kill_wait_s: float = 30.0
    quiet: bool = False

    def __call__(self) -> int:
        """Run the step to its end.

        Raises:
            StepError: if it fails, so that SLURM shows the job as FAILED.
        """
        os.chdir(self.folder)
        Path(self.log).parent.mkdir(parents=True, exist_ok=True)
        earlier = outcome.read_all(self.outcome)
        restarts = max(int(os.environ.get("SLURM_RESTART_COUNT", "0")), int(earlier.get("starts", 0)))
        found: dict[str, Any] = {
            "job_id": _job_id(),
            "host": socket.gethostname(),
            "starts": restarts + 1,
            "start": time.time(),
        }
        outcome.write(self.outcome, found)
        with open(self.log, "a", buffering=1) as log:
            begun = log.tell()
            status = self._run(log, restarts)
            if status and _was_killed(self.log, begun):
                status = _KILLED
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            found |= {
                "exit_code": status,
                "end": time.time(),
                "cpu_s": used.ru_utime + used.ru_stime,
                "max_rss_mb": used.ru_maxrss / 1024,
            }
            outcome.write(self.outcome, found)
        if status and not self.quiet:
            raise StepError(f"the step ended with status {status}; its output is in {self.log}")
        return status

    def _run(self, log: Any, restarts: int) -> int:
        if restarts > self.restarts:
            _say(log, f"started again {restarts} times, {self.restarts} are allowed: giving up.")
            return _GIVEN_UP
        if restarts:
            _say(log, f"start number {restarts + 1} of this job.")
        if missing := _missing(self.wait_for, self.latency_wait_s):
            _say(log, f"not visible on this node after {self.latency_wait_s} s: {', '.join(missing)}")
            return _NO_INPUT
        return self._watched(log, last=restarts >= self.restarts)

    def _watched(self, log: Any, last: bool) -> int:
        watch = Watch(
            self.command,
            log,
            checkpoint=self.checkpoint,
            warning_s=0 if last else self.warning_s,
            kill_wait_s=self.kill_wait_s,
        )
        status = watch.run_without_signals() if self.quiet else watch.run()
        # After SIGTERM SLURM decides what comes next, except within a grace time: there it counts the job's end as a failure.
        if status and self.checkpoint:
            resumes = watch.grace_left_s() is not None if watch.stopped else watch.warned
            if resumes:
                self._requeue(log, last)
        return status

    def _requeue(self, log: Any, last: bool) -> None:
        if last:
            _say(log, f"not done after {self.restarts} restarts, no more are allowed: giving up.")
            return
        _say(log, "back to the queue, to resume from the checkpoint.")
        if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
            sys.exit(_LOCAL_REQUEUE_STATUS)
        command = ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]]
        for pause in (5, 20, 0):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            while done.returncode == 0:
                time.sleep(60)  # SLURM ends this process
            _say(log, f"scontrol requeue failed: {done.stderr.strip()}")
            time.sleep(pause)


def _say(log: Any, text: str) -> None:
    print(f"submitit: {text}", file=log)


def _missing(paths: tuple[str, ...], latency_wait_s: float) -> list[str]:
    deadline = time.monotonic() + latency_wait_s
    missing = [path for path in paths if not os.path.lexists(path)]
    while missing and time.monotonic() < deadline:
        time.sleep(0.5)
        missing = [path for path in missing if not os.path.lexists(path)]
    return missing


def _was_killed(log: str, begun: int) -> bool:
    """Whether the step itself was killed: the Snakemake around it ends with status 1 and reports the signal in words only."""
    with open(log, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begun, size - 20_000))
        return _KILLED_WORDS.search(file.read()) is not None


def _job_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    return os.environ.get("SLURM_JOB_ID", "") or os.environ.get("SUBMITIT_LOCAL_JOB_ID", "")
