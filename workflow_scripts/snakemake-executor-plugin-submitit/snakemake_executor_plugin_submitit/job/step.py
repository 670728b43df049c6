"""The part that runs inside the job: run the step under `watch`, leave a trace, ask to be requeued.

`job` calls a `Step` on the node (submitit does with `cluster: local`). Only the standard library is used here, so that a
short step does not wait for imports.

Signals: a step with `checkpoint=1` gets USR2 some time before its limit (through srun from SLURM, else from here). The
Snakemake inside the job would die of it, so it starts with USR2 ignored, and its children inherit that: only a step that
installs a handler notices. NCCL uses USR1, hence USR2.
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

from . import trace
from .watch import Watch

_LOCAL_REQUEUE_STATUS = 144  # submitit's local executor starts a job with this exit status again
_KILLED = 137
_KILLED_WORDS = re.compile(rb"(?m)^.*(died with <Signals\.SIGKILL: 9>|returned non-zero exit status 137)\.$")


class StepError(RuntimeError):
    """The step ended with an error; its own words are in the log."""


@dataclass
class Step:
    """One job of the workflow.

    Attributes:
        command: shell line that runs Snakemake on exactly this job.
        folder: working directory of the workflow.
        log: where the step's output goes, appended to on a restart.
        trace: small file in which the job records its start and end.
        wait_for: inputs that must be visible on the node first (shared file systems show new files late).
        latency_wait_s: how long to wait for them.
        checkpoint: whether the step can go on from where it was warned.
        warning_s: how long before the limit it is warned.
        restarts: how often the job may start again.
        kill_wait_s: how long SLURM waits between TERM and KILL when it ends a job.
        quiet: return the exit status instead of raising (in-process debugging).
    """

    command: str
    folder: str
    log: str
    trace: str
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
        earlier = trace.read_dict(self.trace)
        restarts = max(int(os.environ.get("SLURM_RESTART_COUNT", "0")), int(earlier.get("starts", 0)))
        record: dict[str, Any] = {
            "job_id": _job_id(),
            "host": socket.gethostname(),
            "starts": restarts + 1,
            "start": time.time(),
        }
        trace.write(self.trace, record)
        with open(self.log, "a", buffering=1) as log:
            begun = log.tell()
            status = self._run(log, restarts)
            if status and _was_killed(self.log, begun):
                status = _KILLED
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            record |= {
                "exit_code": status,
                "end": time.time(),
                "cpu_s": used.ru_utime + used.ru_stime,
                "max_rss_mb": used.ru_maxrss / 1024,
            }
            trace.write(self.trace, record)
        if status and not self.quiet:
            raise StepError(f"the step ended with status {status}; its output is in {self.log}")
        return status

    def _run(self, log: Any, restarts: int) -> int:
        if restarts > self.restarts:
            print(
                f"submitit: started again {restarts} times, {self.restarts} are allowed: giving up.", file=log
            )
            return 75
        if restarts:
            print(f"submitit: start number {restarts + 1} of this job.", file=log)
        missing = _missing(self.wait_for, self.latency_wait_s)
        if missing:
            print(
                f"submitit: not visible on this node after {self.latency_wait_s} s: {', '.join(missing)}",
                file=log,
            )
            return 66
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
        # After TERM SLURM decides what comes next, unless the step has ended within its grace time: SLURM counts that as a failure.
        if status and self.checkpoint:
            goes_on = watch.grace_left_s() is not None if watch.stopped else watch.warned
            if goes_on:
                self._go_on_later(log, last)
        return status

    def _go_on_later(self, log: Any, last: bool) -> None:
        if last:
            print(
                f"submitit: not done after {self.restarts} restarts, no more are allowed: giving up.",
                file=log,
            )
            return
        print("submitit: back to the queue, to go on from the checkpoint.", file=log)
        if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
            sys.exit(_LOCAL_REQUEUE_STATUS)
        for pause in (5, 20, 0):
            done = subprocess.run(
                ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                while True:
                    time.sleep(60)  # SLURM ends this process
            print(f"submitit: scontrol requeue failed: {done.stderr.strip()}", file=log)
            time.sleep(pause)


def _missing(paths: tuple[str, ...], latency_wait_s: float) -> list[str]:
    deadline = time.monotonic() + latency_wait_s
    missing = [path for path in paths if not os.path.lexists(path)]
    while missing and time.monotonic() < deadline:
        time.sleep(0.5)
        missing = [path for path in missing if not os.path.lexists(path)]
    return missing


def _was_killed(log: str, begun: int) -> bool:
    """Whether the step itself was killed: the Snakemake around it ends with status 1 and says so in words only."""
    with open(log, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begun, size - 20_000))
        return _KILLED_WORDS.search(file.read()) is not None


def _job_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    return os.environ.get("SLURM_JOB_ID", "") or os.environ.get("SUBMITIT_LOCAL_JOB_ID", "")
