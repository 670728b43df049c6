"""What Snakemake's and make's users type."""

import re
import shutil
import subprocess
import sys
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


def test_a_living_run_keeps_its_lock_and_a_dead_one_does_not(tmp_path: Path) -> None:
    lock = tmp_path / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/a\n")
    unlock = [sys.executable, str(ROOT / "workflow_scripts/tools/unlock.py")]
    code = "import sys, time; print('ready', flush=True); time.sleep(60)"
    living = subprocess.Popen(
        [sys.executable, "-c", code, "snakemake"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert living.stdout and living.stdout.readline() == "ready\n"
        subprocess.run(unlock, cwd=tmp_path, check=True)
        assert lock.exists()
    finally:
        living.kill()
        living.wait()
    done = subprocess.run(unlock, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert not lock.exists() and "going on where it stopped" in done.stdout
