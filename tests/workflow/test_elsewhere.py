"""The workflow used from other folders: by its path, with --directory, and as a module of another workflow."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from project import CONFIG, ROOT, Project, create

MODULE = """
module pruning:
    snakefile: "{snakefile}"
    config: config["pruning"]
    prefix: "pruning"


use rule * from pruning as pruning_*


rule mine:
    default_target: True
    input: rules.pruning_all.input
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("directory", [False, True])
def test_a_run_from_another_folder_plans_the_shipped_configuration(tmp_path: Path, directory: bool) -> None:
    where = ("--directory", str(tmp_path)) if directory else ()
    started = ROOT.parent if directory else tmp_path
    done = snakemake(started, "-s", str(ROOT / "Snakefile"), *where, "-n", "--quiet", "rules")
    assert "482" in done.stdout + done.stderr  # the default grid's jobs
    assert not (ROOT.parent / "results").exists()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Project]:
    """A checkout that nobody may write to (root may, so that what was written is looked for as well)."""
    project = create(tmp_path / "checkout")
    files = [project.folder, *project.folder.rglob("*")]
    for path in files:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    yield project
    for path in files:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    shutil.rmtree(project.folder)


@pytest.mark.slow
def test_a_module_of_another_workflow_runs_with_a_prefix_from_a_read_only_checkout(
    read_only: Project, tmp_path: Path
) -> None:
    import yaml

    before = {path for path in read_only.folder.rglob("*") if "__pycache__" not in path.parts}
    home = tmp_path / "home"
    home.mkdir()
    grid = CONFIG["grid"] | {"backbones": ["miniresnet.supervised"], "criteria": ["magnitude", "obd"]}
    grid |= {"sparsities": [0.5], "batchnorm": ["keep"], "finetune": []}
    config = {"pruning": CONFIG | {"grid": grid}}
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    snakefile = read_only.folder / "Snakefile"
    (home / "Snakefile").write_text('configfile: "config.yaml"\n' + MODULE.format(snakefile=snakefile))
    snakemake(home)
    summary = pd.read_csv(home / "pruning/results/summary.csv")
    assert set(summary["criterion"]) == {"dense", "magnitude", "obd"}
    assert {path for path in read_only.folder.rglob("*") if "__pycache__" not in path.parts} == before
