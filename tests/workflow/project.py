"""A copy of the workflow with a small configuration, for tests to run and change."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "rules", "workflow_scripts", "resources", "profiles", "slurm", "envs")
BACKBONES = ("miniresnet.supervised", "minivit.dino")
CONFIG: dict[str, Any] = {
    "results": "results",
    "data": {"seed": 0, "images_per_class": {"train": 6, "calibration": 4, "validation": 2, "test": 6}},
    "suites": {"all": ["upper", "hebrew"]},
    "grid": {
        "backbones": list(BACKBONES),
        "sources": ["upper"],
        "criteria": ["magnitude", "obd", "obs"],
        "allocations": ["global"],
        "sparsities": [0.5, 0.9],
        "batchnorm": ["keep", "recalibrate"],
        "seeds": [0],
        "finetune": ["keep"],
    },
    "criteria": {
        "magnitude": {"criterion": "magnitude"},
        "random": {"criterion": "random"},
        "obd": {"criterion": "obd", "estimator": "ggn", "damping": 0.1, "damping_mode": "relative"},
        "obs": {
            "criterion": "obs",
            "estimator": "ggn",
            "block_size": 8,
            "damping": 0.1,
            "damping_mode": "relative",
        },
    },
    "heads": {"alpha": 1.0},
    "curvature": {
        "num_examples": 20,
        "batch_size": 10,
        "loss": "squared_error",
        "num_samples": 1,
        "num_probes": 4,
        "shares": 1,
    },
    "finetune": {
        "epochs": 1,
        "batch_size": 20,
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 1.0e-4,
        "schedule": "cosine",
        "milestones": [],
        "gamma": 0.1,
        "batchnorm": "frozen",
    },
    "evaluate": {"batch_size": 60},
}
_JOB = re.compile(r"^(?:local)?rule \w+:\n(?:    input: .*\n)?    output: (.*)$", re.MULTILINE)


@dataclass
class Project:
    """A copy of the repository's workflow with a configuration of its own."""

    folder: Path

    def configure(self, change: Callable[[dict[str, Any]], None] = lambda config: None) -> None:
        """Write config.yaml after applying `change` to what it holds."""
        path = self.folder / "config.yaml"
        config = yaml.safe_load(path.read_text()) if path.exists() else CONFIG
        change(config)
        path.write_text(yaml.safe_dump(config))

    def command(self, *arguments: str) -> list[str]:
        """The command line of a Snakemake run here."""
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def jobs(self, *targets: str) -> set[str]:
        """First outputs, below results/, of the jobs that a run would do now."""
        done = self.snakemake("--dry-run", *targets)
        found = _JOB.findall(done.stdout + done.stderr)
        return {outputs.split(", ")[0].removeprefix("results/") for outputs in found}

    def artefacts(self) -> dict[str, bytes]:
        """Content of every artefact and of the summary, by path."""
        results = self.folder / "results"
        files = [*results.glob("**/*.safetensors"), *results.glob("**/*.csv")]
        return {str(path.relative_to(results)): path.read_bytes() for path in files}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which must be there, in a file."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} no longer has {old!r}"
        path.write_text(text.replace(old, new, 1))


def create(folder: Path) -> Project:
    """The workflow in a new folder."""
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    project = Project(folder)
    project.configure()
    return project
