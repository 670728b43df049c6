"""A stubbed cluster on the PATH, and Snakemake run against it as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_SCRIPT = Path(__file__).with_name("fake_slurm.py")


@dataclass
class FakeCluster:
    """The stub's folder, and what the tests do to it."""

    folder: Path

    def control(self, name: str, text: str | None = "") -> None:
        """Switch a fault on (with its text), or off with None."""
        path = self.folder / "control" / name
        path.unlink(missing_ok=True) if text is None else path.write_text(text)

    def calls(self, name: str) -> list[str]:
        """The command lines of one command so far."""
        log = self.folder / "calls.log"
        return (
            [line for line in log.read_text().splitlines() if line.split()[0] == name] if log.exists() else []
        )

    def started(self) -> list[str]:
        """Job ids in the order in which they began to run, again on a restart."""
        log = self.folder / "started.log"
        return log.read_text().split() if log.exists() else []

    def command(self, *words: str) -> str:
        """Run one of the stub's commands."""
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A fresh stub; every job it still runs at the end is killed, and a command it did not know fails the test."""
    folder = tmp_path / "fake slurm"
    for name in ("bin", "jobs", "control"):
        (folder / name).mkdir(parents=True)
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun"):
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{_SCRIPT}" {name} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(_ROOT / "workflow_scripts"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = FakeCluster(folder)
    yield found
    found.control("fail_scancel", None)
    ids = [path.name for path in (folder / "jobs").glob("[0-9]*")]
    if ids:
        found.command("scancel", *ids)
    log = folder / "unknown.log"
    assert not log.exists(), log.read_text()


@dataclass
class Workflow:
    """A folder with a Snakefile, and the runs that were started in it."""

    folder: Path
    runs: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, snakefile: str) -> None:
        """Set its Snakefile."""
        (self.folder / "Snakefile").write_text(snakefile)

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start Snakemake with the plugin and come back at once."""
        snakemake = Path(sys.executable).with_name("snakemake")
        words = [str(snakemake), "--executor", "submitit", "-j", "20", "--rerun-incomplete", "--nolock"]
        words += [
            "--seconds-between-status-checks",
            "1",
            "--latency-wait",
            "5",
            "--submitit-collect-seconds",
            "0.3",
        ]
        run = subprocess.Popen(
            [*words, *flags],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A test run in the background of a shell has it ignored, which children inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        self.runs.append(run)
        return run

    def run(self, *flags: str, status: int = 0) -> str:
        """Run to the end; the output, which must come with this exit status."""
        process = self.start(*flags)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == status, output
        return output


@pytest.fixture
def workflow(tmp_path: Path, cluster: FakeCluster) -> Iterator[Workflow]:
    """An empty workflow folder whose name has a space and a quote; what still runs at the end is killed."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    found = Workflow(folder)
    yield found
    for run in found.runs:
        if run.poll() is None:
            run.kill()
            run.communicate()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Poll a condition, for at most four minutes (a busy machine is slow to start Snakemake)."""

    def wait(condition: Callable[[], bool], seconds: float = 240) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it never came true"
            time.sleep(0.1)

    return wait
