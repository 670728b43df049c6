"""Steps in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_submitit.job.step import Step

SCRIPTS = str(Path(__file__).parents[3] / "workflow_scripts/snakemake-executor-plugin-submitit")


def make_step(folder: Path, command: str, **more: Any) -> Step:
    """A step with its log and outcome in `folder`."""
    return Step(command, str(folder), "logs/step.log", "outcome.json", **more)


def clean_environment(**more: str) -> dict[str, str]:
    """This process's, as if outside SLURM, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SUBMITIT_"))}
    return kept | more


def in_process(folder: Path, step: Step, *, before: str = "", **environment: str) -> subprocess.Popen[bytes]:
    """The step in a process of its own, as submitit would call it; `before`: Python to run first."""
    code = f"{before}\nfrom snakemake_executor_plugin_submitit.job.step import Step\n{step!r}()"
    return subprocess.Popen(
        [sys.executable, "-c", code], env=clean_environment(PYTHONPATH=SCRIPTS, **environment), cwd=folder
    )


def outcome(folder: Path) -> dict[str, Any]:
    """What the job wrote about itself."""
    found: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return found
