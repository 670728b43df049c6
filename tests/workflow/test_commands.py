"""What Snakemake's and make's users type."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from project import Project

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def test_lint_is_clean(fresh: Project) -> None:
    done = fresh.snakemake("--lint")
    assert "your workflow is in a good condition" in done.stdout + done.stderr


@pytest.mark.parametrize("graph", ["--dag", "--rulegraph"])
def test_graphs_show_every_rule_of_the_run(fresh: Project, graph: str) -> None:
    fresh.configure(lambda config: config["criteria"]["obd"].update(rounds=2))
    done = fresh.snakemake("--dry-run")
    rules = set(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE))
    assert {"compute_curvature", "compute_round_statistic", "compare_criteria"} < rules and len(rules) >= 15
    dot = fresh.snakemake(graph).stdout
    assert dot.startswith("digraph")
    assert rules <= set(re.findall(r'label = "(\w+)', dot))


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz's dot is not installed")
def test_graphs_can_be_drawn(fresh: Project) -> None:
    dot = fresh.snakemake("--rulegraph").stdout
    drawn = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True, check=True).stdout
    assert "<svg" in drawn and "compute_curvature" in drawn


def test_the_default_grid_is_what_the_readme_says(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for part in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / part, tmp_path / part)
    for part in ("rules", "workflow_scripts", "resources", "profiles", "envs"):
        (tmp_path / part).symlink_to(ROOT / part)
    done = project.snakemake("--dry-run", "--quiet", "rules")
    counts = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert counts["download_pretrained"] == "6"
    assert counts["prepare_task"] == "13"
    assert counts["fit_head"] == "78"
    # four criteria and three sparsities of six backbones
    assert counts["compute_mask"] == "72"
    # with the dense models: six kept, three recalibrated; six fine-tuned
    assert counts["evaluate_pruned"] == str(72 + 36 + 6 + 3)
    assert counts["finetune"] == counts["evaluate_finetuned"] == str(72 + 6)


def test_make_lists_its_targets_and_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "dag", "lint", "pretrained"):
        assert f"make {target} " in done.stdout
    # `make dag` without graphviz
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/create.sh").write_text("#!/bin/sh\n")
    (tmp_path / "envs/create.sh").chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "make", "nproc", "mkdir"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        [tools / "make", "dag"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "graphviz's dot is needed" in done.stderr


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    lock = tmp_path / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/a\n")
    return lock


def unlock(folder: Path) -> str:
    command = [sys.executable, str(ROOT / "workflow_scripts/tools/unlock.py")]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


@contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the folder; the program says when it is ready."""
    process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


WAITS = "import sys, time; print('ready', flush=True); time.sleep(60)"


def test_a_living_run_keeps_its_lock(tmp_path: Path, lock: Path) -> None:
    program = tmp_path / "bin/snakemake"
    program.parent.mkdir()
    program.write_text(WAITS)
    with running(tmp_path, str(program), "--cores", "2"):
        assert "A run is going on" in unlock(tmp_path) and lock.exists()
    assert "continuing where it stopped" in unlock(tmp_path) and not lock.exists()


def test_a_process_that_only_mentions_snakemake_is_no_run(tmp_path: Path, lock: Path) -> None:
    with running(tmp_path, "-c", WAITS, "snakemake") as other:
        assert "continuing where it stopped" in unlock(tmp_path)
        assert other.poll() is None and not lock.exists()


def test_a_step_that_lost_its_run_is_told_to_save_and_ended(tmp_path: Path, lock: Path) -> None:
    script = tmp_path / ".snakemake/scripts/tmp.finetune.py"
    script.parent.mkdir()
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "def save(*_): time.sleep(1); pathlib.Path('saved').touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, save)\n" + WAITS
    )
    with running(tmp_path, str(script)) as orphan:
        assert "ending one process that it left behind" in unlock(tmp_path)
        assert (tmp_path / "saved").exists() and not lock.exists()
        assert orphan.wait(timeout=10) == 1
