"""A stubbed cluster on the PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from runs import Workflow

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
    monkeypatch.setenv("PYTHONPATH", str(_ROOT / "workflow_scripts/snakemake-executor-plugin-submitit"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = FakeCluster(folder)
    yield found
    found.control("fail_scancel", None)
    ids = [path.name for path in (folder / "jobs").glob("[0-9]*")]
    if ids:
        found.command("scancel", *ids)
    log = folder / "unknown.log"
    assert not log.exists(), log.read_text()


@pytest.fixture
def workflow(tmp_path: Path, cluster: FakeCluster) -> Iterator[Workflow]:
    """An empty workflow folder whose name has a space and a quote; what still runs at the end is killed."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    found = Workflow(folder)
    yield found
    found.kill()
