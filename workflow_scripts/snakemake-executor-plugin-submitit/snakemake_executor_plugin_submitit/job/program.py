"""The job's program: `python -m snakemake_executor_plugin_submitit.job.program FILE` runs one step of a submission.

FILE lists the steps, one per line, in the order of the array's tasks. It is complete before sbatch is called, so the jobs
can run even if the controller dies right after sbatch. submitit's own program is not used: it imports numpy first (0.2 s of
CPU, a fifth of a short step), and its pickles get their names only after sbatch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from .step import Step

_VISIBLE_S = 60  # shared file systems show new files late


def write_steps(path: Path, steps: Iterable[Step]) -> None:
    """Write the list of steps before sbatch is called; it is on the disk when this returns."""
    with path.open("w") as file:
        file.writelines(json.dumps(asdict(step)) + "\n" for step in steps)
        file.flush()
        os.fsync(file.fileno())


def read_step(path: Path, task: int) -> Step:
    """The step of this task of the array; the only step if there is no array.

    Raises:
        RuntimeError: if the file does not become visible or has no such line.
    """
    deadline = time.monotonic() + _VISIBLE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"the list of steps must be visible on this node; {path} is not after {_VISIBLE_S} s; "
                "put the workflow in a folder that all nodes share"
            )
        time.sleep(0.5)
    lines = path.read_text().splitlines()
    if task >= len(lines):
        raise RuntimeError(f"task {task} needs a line of its own; {path} has {len(lines)} steps")
    found = json.loads(lines[task])
    return Step(**found | {"wait_for": tuple(found["wait_for"])})


def main(path: Path) -> int:
    """Run this job's step; raises StepError if it fails, so that SLURM shows the job as FAILED."""
    # SIGUSR2 must not end this program, and must wait until the step has started. So it is ignored and then blocked
    # until `watch` reads it. Linux keeps a blocked signal pending even while it is ignored.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    return read_step(path, int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")))()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
