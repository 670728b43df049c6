"""Let a killed run go on: end what it has left running in this folder, and remove its lock. A living run keeps both.

A controller is a Snakemake that no other Snakemake started. What runs a job (`--mode subprocess`, or a script below
.snakemake/scripts) and has lost its controller would still write the files that the next run makes again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SCRIPTS = ".snakemake/scripts/"
GRACE_S = 20.0
"""From TERM, which lets fine-tuning save its checkpoint, to KILL."""


class Process(NamedTuple):
    """A process that works in the folder."""

    number: int
    arguments: Sequence[str]

    @property
    def is_controller(self) -> bool:
        """Whether it is a Snakemake that plans and starts jobs."""
        return self._is_snakemake and not self._runs_a_job

    @property
    def is_job(self) -> bool:
        """Whether it runs a job of some controller."""
        return (self._is_snakemake and self._runs_a_job) or any(SCRIPTS in word for word in self.arguments)

    @property
    def _is_snakemake(self) -> bool:
        """``python -m snakemake ...`` or ``python .../bin/snakemake ...``, not a command that only mentions it."""
        words = list(self.arguments[1:])
        if "-m" in words[:-1]:
            return words[words.index("-m") + 1].partition(".")[0] == "snakemake"
        return bool(words) and Path(words[0]).name == "snakemake"

    @property
    def _runs_a_job(self) -> bool:
        return ("--mode", "subprocess") in zip(self.arguments, self.arguments[1:], strict=False)


def unlock(folder: Path) -> None:
    """End the orphans of a killed run in `folder` and remove its locks, unless a controller works there.

    Does nothing where processes can't be seen (other systems than Linux).
    """
    locks = list((folder / ".snakemake" / "locks").glob("*"))
    if not locks or not Path("/proc/self").exists():
        return
    controllers = [process.number for process in _working_in(folder) if process.is_controller]
    if controllers:
        print(
            f"A run is going on in this folder (process {controllers[0]}): its lock stays.", file=sys.stderr
        )
        return
    orphans = [process.number for process in _working_in(folder) if process.is_job]
    if orphans:
        count = "one process" if len(orphans) == 1 else f"{len(orphans)} processes"
        print(f"A former run was killed: ending {count} that it left behind.", flush=True)
        _end(orphans)
    for lock in locks:
        lock.unlink(missing_ok=True)
    print("A former run was killed: continuing where it stopped.")


def _working_in(folder: Path) -> Iterator[Process]:
    """Every process but this one whose working folder is `folder`."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve() != folder.resolve() or int(entry.name) == os.getpid():
                continue
            arguments = (entry / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
        except OSError:  # it has ended, or is another user's
            continue
        yield Process(int(entry.name), arguments)


def _end(processes: Sequence[int]) -> None:
    for number, until in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 5.0)):
        living = [process for process in processes if _is_alive(process)]
        for process in living:
            os.kill(process, number)
        deadline = time.monotonic() + until
        while any(map(_is_alive, living)) and time.monotonic() < deadline:
            time.sleep(0.1)


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    unlock(Path.cwd())
