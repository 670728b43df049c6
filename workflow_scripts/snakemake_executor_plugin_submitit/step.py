"""The part that runs inside the job: start the step, pass the early warning on, leave a trace, ask to be requeued.

`job` calls a `Step` on the node (submitit does with `cluster: local`). Only the standard library is used here, so that a
short step does not wait for imports.

Signals: a step with `checkpoint=1` gets USR2 some time before its limit (through srun from SLURM, else from here). The
Snakemake inside the job would die of it, so it starts with USR2 ignored, and its children inherit that: only a step that
installs a handler notices. NCCL uses USR1, hence USR2.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import trace

_LOCAL_REQUEUE_STATUS = 144  # submitit's local executor starts a job with this exit status again
_KILLED = 137
_KILLED_WORDS = re.compile(rb"(?m)^.*(died with <Signals\.SIGKILL: 9>|returned non-zero exit status 137)\.$")
_MARGIN_S = 20  # of the time between the warning and the limit, kept for requeueing


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
        return _Watch(self, log, last=restarts >= self.restarts).run()


class _Watch:
    """The running step and what the signals do to it."""

    def __init__(self, step: Step, log: Any, last: bool) -> None:
        self.step, self.log, self.last = step, log, last
        self.warned = self.late = False
        self.child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        before = {}
        if not self.step.quiet:  # in a thread of the controller there are no signals to handle
            handlers = {signal.SIGUSR2: self._warn, signal.SIGTERM: self._stop, signal.SIGALRM: self._late}
            before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            self.child = subprocess.Popen(
                ["/bin/sh", "-c", self.step.command],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                preexec_fn=_ignore_warning,  # noqa: PLW1509 - there is one thread here
                start_new_session=True,
            )
            status = self.child.wait()
            self._sweep()
        finally:
            if before:
                signal.alarm(0)
            for number, handler in before.items():
                signal.signal(number, handler)
        if status and self.warned and self.step.checkpoint:
            self._go_on_later()
        return status

    def _warn(self, *_: Any) -> None:
        if not self.warned:
            self.warned = True
            print("submitit: told to stop soon.", file=self.log)
            if not os.environ.get(
                "SLURM_STEP_ID", ""
            ).isdigit():  # under srun, SLURM tells every process itself
                self._send(signal.SIGUSR2)
            if self.step.checkpoint and not self.last:
                signal.alarm(max(1, self.step.warning_s - _MARGIN_S))

    def _stop(self, *_: Any) -> None:
        # From scancel, at the limit, or when preempted: SLURM decides what comes next, so no requeue from here.
        self._send(signal.SIGUSR2 if self.step.checkpoint else signal.SIGTERM)

    def _late(self, *_: Any) -> None:
        # Warned, and still running: it has had the time to write its checkpoint.
        self._send(signal.SIGKILL if self.late else signal.SIGTERM)
        self.late = True
        signal.alarm(5)

    def _send(self, number: int) -> None:
        if self.child is not None and self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)

    def _sweep(self) -> None:
        """Kill what the step left running: not every SLURM does, and it might write the outputs of the job's successor."""
        assert self.child is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)

    def _go_on_later(self) -> None:
        if self.last:
            print(
                f"submitit: not done after {self.step.restarts} restarts, no more are allowed: giving up.",
                file=self.log,
            )
            return
        print("submitit: back to the queue, to go on from the checkpoint.", file=self.log)
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
            print(f"submitit: scontrol requeue failed: {done.stderr.strip()}", file=self.log)
            time.sleep(pause)


def _ignore_warning() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


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
