"""Daemons by pid files, and the processes that jobs leave on the nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from patience import wait_until

_TIDY_S = 10  # a daemon that takes longer to end is killed


class ClusterError(RuntimeError):
    """The cluster could not be started or did not answer."""


def wait(condition: Callable[[], bool], failure: Callable[[], str]) -> None:
    """`wait_until`, for what is no test.

    Raises:
        ClusterError: with what `failure` says.
    """
    wait_until(condition, failure, error=ClusterError)


class Daemons:
    """Started in sessions of their own; a file `run/<name>` holds each one's pid and start time."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str) -> None:
        """Start one in the foreground of its own session."""
        with (self.folder / "log" / f"{name}.err").open("ab") as log:
            child = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(child)
        (self.folder / "run" / name).write_text(f"{child.pid} {started(child.pid)}")

    def pid(self, name: str) -> int | None:
        """The pid of one that lives."""
        self._reap()
        path = self.folder / "run" / name
        words = path.read_text().split() if path.exists() else []
        return int(words[0]) if len(words) == 2 and started(int(words[0])) == words[1] else None

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        Raises:
            ClusterError: if it dies or takes too long, with the end of its log.
        """
        wait(lambda: self.pid(name) is None or ready(), lambda: self._story(name, "is not ready"))
        if self.pid(name) is None:
            raise ClusterError(self._story(name, "has died"))

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal, if it lives."""
        pid = self.pid(name)
        if pid is not None:
            send([pid], number)

    def stop(self, names: Iterable[str]) -> None:
        """End them all at the same time, with force if need be."""
        names = list(names)
        for name in names:
            self.kill(name, signal.SIGTERM)
        until = time.monotonic() + _TIDY_S
        while any(map(self.pid, names)) and time.monotonic() < until:
            time.sleep(0.05)
        for name in names:
            self.kill(name)
        wait(lambda: not any(map(self.pid, names)), lambda: f"still running: {names}")

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    def _story(self, name: str, what: str) -> str:
        logs = [self.folder / "log" / f"{name}.{kind}" for kind in ("log", "err")]
        lines = [
            line
            for log in logs
            if log.exists()
            for line in log.read_text(errors="replace").splitlines()[-15:]
        ]
        return "\n    ".join([f"{name} {what}; its log in {self.folder}/log ends with", *lines])


def started(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" if there is none or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def send(pids: Iterable[int], number: int) -> None:
    """A signal to those that still live."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def job_processes(folder: Path, node: str = "") -> set[int]:
    """SLURM's step daemons of this cluster (or of one node) with all their descendants, and what got away from them."""
    marks = [f"SLURM_CONF={folder}/slurm.conf".encode(), b"SLURM_JOB_ID="]
    if node:
        marks.append(f"SLURMD_NODENAME={node}\0".encode())
    log = str(folder / "log" / f"{node}.log") if node else str(folder / "log")
    parents, found = {}, set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (entry / "environ").read_bytes() + b"\0"
            if all(mark in environment for mark in marks) or _writes(entry, "slurmstepd", log):
                found.add(int(entry.name))
        except OSError:
            continue  # it ended, or is another user's
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid for pid in found if started(pid)}


def processes_of(folder: Path) -> dict[int, str]:
    """Every process whose command line or environment names `folder`, by what it is."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            pid = int(entry.name)
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            if started(pid) and str(folder).encode() in command + (entry / "environ").read_bytes():
                found[pid] = command.decode(errors="replace").strip()
        except (OSError, ValueError):
            continue  # it ended, is another user's, or is no process
    return found


def _writes(entry: Path, program: str, log: str) -> bool:
    if not os.path.basename(os.readlink(entry / "exe")).startswith(program):
        return False
    return any(os.readlink(link).startswith(log) for link in (entry / "fd").iterdir())
