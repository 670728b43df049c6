"""The job's own program: `python -m snakemake_executor_plugin_submitit.job FILE` runs one step of a submission.

FILE lists the steps, one a line, in the order of the array's tasks. It is complete before sbatch is called, so a
controller that dies right after it leaves jobs that can run. (submitit's own program, for any Python function, imports
numpy first, which costs 0.2 s of CPU, as much as a fifth of what a short step takes; its pickles get their names after
sbatch.)
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
    """Before sbatch; on the disk when it returns."""
    with path.open("w") as file:
        file.writelines(json.dumps(asdict(step)) + "\n" for step in steps)
        file.flush()
        os.fsync(file.fileno())


def read_step(path: Path, task: int) -> Step:
    """The step of this task of the array; the only one where there is no array.

    Raises:
        RuntimeError: if the file does not become visible or has no such line.
    """
    deadline = time.monotonic() + _VISIBLE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{path} is not visible on this node after {_VISIBLE_S} s: is its folder shared?"
            )
        time.sleep(0.5)
    lines = path.read_text().splitlines()
    if task >= len(lines):
        raise RuntimeError(f"{path} has {len(lines)} steps, task {task} was asked for")
    found = json.loads(lines[task])
    return Step(**found | {"wait_for": tuple(found["wait_for"])})


def main(path: Path) -> int:
    """Run this job's step; raises StepError if it fails, so that SLURM shows the job as FAILED."""
    # A warning must not end this program, and before the step has started it must wait: ignored, then held back
    # until `watch` looks. Linux keeps a signal that is held back even while it is ignored.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    return read_step(path, int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")))()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
