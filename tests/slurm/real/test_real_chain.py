"""This workflow with `--profile slurm` on a real SLURM: the same bytes as without, on the nodes that the profile asks for."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from patience import wait_until
from project import ROOT, Project, create
from runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]


def small(config: dict[str, Any]) -> None:
    """One backbone, two criteria, one sparsity: every rule of the chain runs on the cluster."""
    config["grid"] |= {
        "backbones": ["miniresnet.supervised"],
        "criteria": ["magnitude", "obs"],
        "sparsities": [0.5],
        "batchnorm": ["keep"],
    }


def run(project: Project, slurm: Cluster, *arguments: str) -> str:
    """`snakemake --profile slurm -j 64` in the project, polling often; what it printed."""
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-j", "64"]
    words = [*command, "--seconds-between-status-checks", "1", "--latency-wait", "10", *arguments]
    log = project.folder.with_name("cluster.log")
    return Run(words, log, cwd=project.folder, env=slurm.environment).end(hopeless=slurm.stuck)


@pytest.fixture(scope="module")
def finished(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The whole chain run on the cluster, and what its terminal showed."""
    project = create(tmp_path_factory.mktemp("chain") / "on cluster")
    project.configure(small)
    return project, run(project, slurm)


def test_the_chain_gives_the_same_bytes_as_on_this_machine(
    finished: tuple[Project, str], tmp_path: Path
) -> None:
    project, _ = finished
    local = create(tmp_path / "local")
    local.configure(small)
    threads = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())["set-threads"]
    words = [f"{rule}={count}" for rule, count in threads.items()]  # sums depend on the number of threads
    local.snakemake("--cores", "4", "--set-threads", *words)
    assert project.artefacts().keys() == local.artefacts().keys()
    assert {path.name for path in (project.folder / "results").iterdir()} >= {"summary.csv", "figures"}
    different = [path for path, content in project.artefacts().items() if content != local.artefacts()[path]]
    assert different == []


def test_nothing_is_left_to_do_and_a_new_sparsity_runs_its_own_jobs_only(
    finished: tuple[Project, str], slurm: Cluster
) -> None:
    project, _ = finished
    assert project.jobs() == set()
    before = submitted(slurm)
    target = "evaluations/miniresnet.supervised/obs/upper/seed_0/global/sparsity_0.7/keep/all.csv"
    run(project, slurm, f"results/{target}")
    assert (project.folder / "results" / target).exists()
    assert submitted(slurm) - before == Counter({"compute_mask": 1, "evaluate_pruned": 1})


def submitted(slurm: Cluster) -> Counter[str]:
    """Jobs in SLURM's accounting by rule."""
    return Counter(row[0] for row in accounted(slurm))


def accounted(slurm: Cluster) -> list[list[str]]:
    """Of each job: rule, CPUs, everything allocated, time limit, state."""
    fields = "JobName,AllocCPUS,AllocTRES,Timelimit,State"
    text = slurm.command("sacct", "-n", "-P", "-X", "--starttime=now-1day", f"--format={fields}")
    jobs = [line.split("|") for line in text.splitlines()]
    # An array of several rules has all their names, and a row for each task.
    return [[rule, *rest] for name, *rest in jobs for rule in name.split("+")]


def test_jobs_get_what_the_profile_asks_for(finished: tuple[Project, str], slurm: Cluster) -> None:
    project, _ = finished
    profile = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
    sent = {path.name for path in (project.folder / ".snakemake/submitit/logs").iterdir()}
    assert sent == {
        "fit_head", "compute_curvature", "compute_scores", "compute_mask", "finetune", "evaluate_pruned", "evaluate_finetuned"
    }  # fmt: skip
    wait_until(lambda: sent <= set(submitted(slurm)), lambda: str(accounted(slurm)))  # it comes to know late
    for rule, cpus, tres, limit, state in (row for row in accounted(slurm) if row[0] in sent):
        wants_gpu = "gpu" in profile["set-resources"].get(rule, {})
        assert (int(cpus), "gres/gpu=1" in tres, limit, state) == (4, wants_gpu, "01:00:00", "COMPLETED"), (
            rule
        )
    times = [json.loads(path.read_text()) for path in project.folder.glob("results/logs/**/*.times.json")]
    assert {row["device"] for row in times} == {"cpu"}  # the nodes' GPUs are not real
    log = next(project.folder.glob("results/logs/finetune/**/*.log")).read_text()
    assert "torch" in log and "sees none" in log
