"""Watch the running step: pass signals on, give it time to save, and let nothing outlive it.

SLURM sends SIGTERM to every process of a job when it preempts the job, cancels it or reaches its time limit. The step's
shell ends at once, while the step itself may still be saving. So the session of the step gets time: SLURM kills a job
`KillWait` seconds after its last SIGTERM, and a preempted job that still counts as running has the rest of its `GraceTime`
before that.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Self

WARNING, STOP = signal.SIGUSR2, signal.SIGTERM
MARGIN_S = 20  # kept of the time between warning and limit, for stopping a slow step and requeueing
_LAST_WORDS_S = 10  # from SIGTERM to SIGKILL, for a step that was warned and continues
_SETTLE_S = 0.5  # a shell that still lives so long after the job's SIGTERM did not receive it
_LEFT_S = 5  # what a failed step leaves behind may be saving, and the job's own SIGTERM may still come
_POLL_S = 0.1
_ASK, _AGAIN, _KILL = 0.5, 0.75, 0.9  # of KillWait: ask SLURM for the grace time, repeat SIGTERM, kill


class Inbox:
    """The signals that came since it was opened, in order; none is lost, however early it comes.

    The handlers do nothing. Python writes the number of each signal into a pipe, and the watch reads the pipe once the step
    has started. Only for the main thread.
    """

    def __enter__(self) -> Self:
        self._out, self._into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pipe_before = signal.set_wakeup_fd(self._into, warn_on_full_buffer=False)
        numbers = (WARNING, STOP, signal.SIGCHLD)
        self._before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {WARNING})  # `program` blocked it until here
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._pipe_before)
        os.close(self._out)
        os.close(self._into)

    def wait(self, seconds: float) -> bytes:
        """The numbers of new signals, after at most so many seconds."""
        ready, _, _ = select.select([self._out], [], [], seconds)
        return os.read(self._out, 4096) if ready else b""


class Watch:
    """One step in a session of its own.

    Attributes:
        command: shell line.
        log: open file for its output.
        checkpoint: whether it saves on SIGUSR2.
        warning_s: how long before the time limit SIGUSR2 comes; with 0, a step that ignores it is not stopped.
        kill_wait_s: time from SLURM's last SIGTERM to its SIGKILL.
        warned: SIGUSR2 came.
        stopped: SIGTERM came.
    """

    def __init__(
        self, command: str, log: Any, *, checkpoint: bool, warning_s: float, kill_wait_s: float
    ) -> None:
        self.command, self.log = command, log
        self.checkpoint, self.warning_s = checkpoint, warning_s
        self.kill_wait_s = max(5.0, kill_wait_s)  # slurmd never waits for less
        self.warned = self.stopped = False
        self._ending = False  # its processes have received SIGTERM
        self._tell_at = self._ask_at = self._term_at = self._kill_at = math.inf

    def run(self) -> int:
        """Run the step to its end, in the main thread; its exit status."""
        with Inbox() as inbox:
            self._child = self._start()
            while self._continues():
                for number in inbox.wait(self._pause()):
                    self._receive(number)
                self._act(time.monotonic())
            self.stopped |= STOP in inbox.wait(0)
        return self._sweep()

    def run_without_signals(self) -> int:
        """The same in any thread."""
        self._child = self._start()
        self._child.wait()
        return self._sweep()

    def grace_left_s(self) -> float | None:
        """Seconds until SLURM ends a preempted job that still runs; None for any other job, or without an answer."""
        return _grace_left_s(timeout_s=self.kill_wait_s / 5)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            # The second line keeps the shell alive: if it dies of the job's SIGTERM, SLURM has signalled every process.
            ["/bin/sh", "-c", f"{self.command}\nexit $?"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            preexec_fn=_ignore_warning,  # noqa: PLW1509 - there is one thread here
            start_new_session=True,
        )

    def _continues(self) -> bool:
        status = self._child.poll()
        if status is None:
            return True
        if not self._ending:
            self._kill_at = min(self._kill_at, time.monotonic() + (_LEFT_S if status else 0))
            self._ending = True
        return time.monotonic() < self._kill_at and bool(groups(self._child.pid))

    def _pause(self) -> float:
        if self._child.returncode is not None:
            return _POLL_S  # there is no signal for the end of a session's last process
        next_s = min(self._tell_at, self._ask_at, self._term_at, self._kill_at) - time.monotonic()
        return min(3600.0, max(_POLL_S, next_s))

    def _receive(self, number: int) -> None:
        if number == STOP:
            self._stop(time.monotonic())
        elif number == WARNING and not self.warned:
            self._warn(time.monotonic())

    def _warn(self, now: float) -> None:
        self.warned = True
        print("submitit: the time limit is near, the step has to stop soon.", file=self.log)
        if not os.environ.get("SLURM_STEP_ID", "").isdigit():  # under srun SLURM itself signals every process
            self._send(WARNING)
        if self.checkpoint and self.warning_s and not self.stopped:
            self._term_at = now + max(1, self.warning_s - MARGIN_S)

    def _stop(self, now: float) -> None:
        self.stopped = self._ending = True
        self._tell_at = now + _SETTLE_S
        self._ask_at = now + _ASK * self.kill_wait_s
        self._set_deadline(now)

    def _set_deadline(self, since: float) -> None:
        self._term_at = since + _AGAIN * self.kill_wait_s
        self._kill_at = since + _KILL * self.kill_wait_s

    def _act(self, now: float) -> None:
        if now >= self._tell_at:
            self._tell_at = math.inf
            if self._child.poll() is None:
                self._send(WARNING if self.checkpoint else STOP)
        if now >= self._ask_at:
            self._ask_at = math.inf
            self._set_deadline(now - _ASK * self.kill_wait_s + (self.grace_left_s() or 0))
        if now >= self._term_at:
            self._term_at, self._ending = math.inf, True
            self._send(STOP)
            if not self.stopped:
                self._kill_at = now + _LAST_WORDS_S
        if now >= self._kill_at:
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for group in groups(self._child.pid) | ({self._child.pid} if self._child.poll() is None else set()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)

    def _sweep(self) -> int:
        """Kill what is left: SLURM does not always do so, and it could overwrite the outputs of the next start."""
        until = time.monotonic() + _LEFT_S
        while (left := groups(self._child.pid)) and time.monotonic() < until:
            for group in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            time.sleep(0.01)
        return self._child.wait()


def groups(session: int) -> set[int]:
    """The process groups of a session in which something still runs; empty on systems without /proc."""
    found = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat,
            ):
                state, _, group, its_session = stat.read().rpartition(")")[2].split()[:4]
                if int(its_session) == session and state not in "ZX":
                    found.add(int(group))
    return found


def _grace_left_s(timeout_s: float) -> float | None:
    task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    job = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{task}" if task else os.environ.get("SLURM_JOB_ID", "")
    if not job:
        return None
    words = _answer(["squeue", "-h", "-j", job, "-O", "State:20,PreemptTime:30,EndTime:30"], timeout_s)
    if len(words) != 3 or words[0] != "RUNNING" or not words[1][:1].isdigit():
        return None
    try:
        end = time.mktime(time.strptime(words[2], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    return max(0.0, end - time.time())


def _answer(command: Sequence[str], timeout_s: float) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def _ignore_warning() -> None:
    signal.signal(WARNING, signal.SIG_IGN)
