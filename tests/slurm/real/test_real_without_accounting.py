"""A cluster without slurmdbd, which forgets jobs some seconds after their end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cluster import Cluster
from cluster_processes import job_processes, send
from patience import wait_until
from runs import Workflow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

SNAKEFILE = """
STEPS = ["good", "bad", "cancelled", "lost"]
rule all:
    input: STEPS
rule step:
    output: "{name}"
    wildcard_constraints: name="good|bad|cancelled|lost"
    resources: runtime=5
    shell: '''
        echo ${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID > {output}.id
        case {output} in
            bad) echo "it has no data" >&2; exit 3;;
            cancelled | lost) sleep 300;;
        esac
        date > {output}
    '''
"""


def running(cluster: Cluster) -> list[str]:
    return cluster.command("squeue", "--noheader", "--array", "--format=%i").split()


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def test_every_end_of_a_job_is_told(
    slurm_without_accounting: Cluster, workflow_without_accounting: Workflow
) -> None:
    cluster, workflow = slurm_without_accounting, workflow_without_accounting
    workflow.write(SNAKEFILE)
    folder, before = workflow.folder, len(cluster.calls("sacct"))
    run = workflow.start("--keep-going", "--submitit-patience-min", "0")
    wait_until(lambda: all((folder / f"{name}.id").exists() for name in ("good", "bad", "cancelled", "lost")))
    ids = {name: (folder / f"{name}.id").read_text().strip() for name in ("good", "bad", "cancelled", "lost")}
    wait_until(lambda: "rule step (name=bad) failed" in run.output and (folder / "good").exists())

    cluster.command("scancel", ids["cancelled"])
    wait_until(lambda: "rule step (name=cancelled) failed" in run.output)

    # Killed with all its processes while squeue does not answer; when it does again, the job is long forgotten.
    cluster.control(
        "fail_squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    )
    wait_until(lambda: running(cluster) == [ids["lost"]])
    processes = sorted(job_processes(cluster.folder))  # the parent first, or it would write down the end
    send([pid for pid in processes if "slurmstepd" not in name_of(pid)], signal.SIGKILL)
    wait_until(lambda: ids["lost"] not in cluster.command("squeue", "--noheader", "--array", "--states=all"))
    cluster.control("fail_squeue", None)
    output = run.end(status=1)

    for part in (
        "rule step (name=bad) failed: the step failed (FAILED)",
        f"job {ids['bad']} on n",
        "    it has no data\n",
        "rule step (name=cancelled) failed: the job was cancelled (CANCELLED)",
        "rule step (name=lost) failed: SLURM has not known it",
        f"job {ids['lost']} on",
        "(LOST)",
    ):
        assert part in output, output
    assert (folder / "good").exists() and workflow.sbatches(cluster) == 1
    assert (
        len(cluster.calls("sacct")) - before <= 2
    )  # it says that there is none, and is not asked again and again
