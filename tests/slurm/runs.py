"""A workflow in a folder of its own, and Snakemake run on it as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import Cluster
from patience import nothing_wrong, wait_until

FLAGS = (
    *("--executor", "submitit", "-j", "20", "--rerun-incomplete", "--nolock", "--latency-wait", "5"),
    *("--seconds-between-status-checks", "1", "--submitit-collect-seconds", "0.3"),
)


class Run(subprocess.Popen[str]):
    """A run of Snakemake whose output goes to a file, so that it never waits for a reader."""

    hopeless: Callable[[], str] = staticmethod(nothing_wrong)

    def __init__(self, words: Sequence[str], log: Path, **more: Any) -> None:
        self.log = log
        with log.open("w") as out:
            super().__init__(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                # A test run in the background of a shell has it ignored, which children inherit.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
                **more,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; all it printed, and nothing."""
        self.wait(timeout)
        return self.output, ""

    def end(self, status: int = 0, hopeless: Callable[[], str] | None = None) -> str:
        """Wait for its end, which must come with this exit status, as long as it goes on printing; all it printed.

        `hopeless`: see `wait_until`; by default what the cluster says of its jobs.
        """
        wait_until(
            lambda: self.poll() is not None,
            lambda: f"still running:\n{self.output}",
            hopeless=hopeless or self.hopeless,
            progress=lambda: self.log.stat().st_size,
        )
        assert self.returncode == status, self.output
        return self.output

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does: SIGINT to the whole process group."""
        os.killpg(self.pid, signal.SIGINT)

    def kill_all(self) -> None:
        """kill -9 of the controller and whatever it has started here."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()


@dataclass
class Workflow:
    """A folder with a Snakefile, and the runs that were started in it.

    Attributes:
        folder: its working directory.
        environment: what Snakemake runs in; this process's own if None.
        flags: what each run is started with; those given to `start` come behind.
        hopeless: why its jobs can't go on, "" while they can.
        runs: all so far.
    """

    folder: Path
    environment: Mapping[str, str] | None = None
    flags: Sequence[str] = FLAGS
    hopeless: Callable[[], str] = nothing_wrong
    runs: list[Run] = field(default_factory=list)

    def write(self, snakefile: str) -> None:
        """Set its Snakefile."""
        (self.folder / "Snakefile").write_text(snakefile)

    def start(self, *flags: str) -> Run:
        """Start Snakemake and come back at once."""
        snakemake = Path(sys.executable).with_name("snakemake")
        log = self.folder.parent / f"{self.folder.name}.run{len(self.runs)}.log"
        words = [str(snakemake), *self.flags, *flags]
        self.runs.append(Run(words, log, cwd=self.folder, env=self.environment))
        self.runs[-1].hopeless = self.hopeless
        return self.runs[-1]

    def run(self, *flags: str, status: int = 0) -> str:
        """Run to the end; the output, which must come with this exit status."""
        return self.start(*flags).end(status)

    def sbatches(self, cluster: Cluster) -> int:
        """How many sbatch calls it took so far."""
        return sum(str(self.folder) in line for line in cluster.calls("sbatch"))

    def jobs(self, cluster: Cluster) -> dict[str, dict[str, str]]:
        """The accounting's record of its jobs: id → state, node, exit code, and when each was submitted and ended."""
        fields = ("JobID", "State", "NodeList", "ExitCode", "ElapsedRaw", "Submit", "End", "WorkDir")
        text = cluster.command(
            *("sacct", "-n", "-P", "-X", "--starttime=now-1day", f"--format={','.join(fields)}")
        )
        rows = [
            dict(zip(fields, line.split("|", len(fields) - 1), strict=True)) for line in text.splitlines()
        ]
        # The database keeps some signs in another form.
        here = str(self.folder).replace('"', "`").encode("latin-1", "replace").decode("latin-1")
        own = [row for row in rows if row["WorkDir"] in (str(self.folder), here)]
        return {job: row for row in own for job in _tasks(row["JobID"])}

    def kill(self) -> None:
        """kill -9 of what still runs."""
        for run in self.runs:
            run.kill_all()


def _tasks(job: str) -> list[str]:
    """`7_[2-3,9]`, which is how tasks that never started are told, as `7_2`, `7_3`, `7_9`."""
    base, bracket, ranges = job.partition("_[")
    if not bracket:
        return [job]
    ends = [part.partition("-") for part in ranges.partition("]")[0].partition("%")[0].split(",")]
    return [f"{base}_{i}" for first, _, last in ends for i in range(int(first), int(last or first) + 1)]
