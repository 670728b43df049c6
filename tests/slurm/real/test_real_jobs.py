"""Snakemake on a real SLURM: arrays, groups, failures, refusals, odd names, Ctrl-C, many jobs."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest
from cluster import Cluster
from patience import allowance_s, wait_until
from runs import Workflow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

EIGHT = """
rule all:
    input: expand("out {i}.txt", i=range(8))
rule make:
    output: "out {i}.txt"
    resources: runtime=5
    shell: "echo ${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}} >> 'id {wildcards.i}'; COMMAND; date > {output:q}"
"""


def ids(workflow: Workflow, i: int) -> list[str]:
    """The SLURM jobs that step `i` of EIGHT has run in so far."""
    path = workflow.folder / f"id {i}"
    return path.read_text().split() if path.exists() else []


def recorded(workflow: Workflow, cluster: Cluster, **expected: int) -> None:
    """Wait until the accounting, which lags, has its jobs in these states."""

    def states() -> Counter[str]:
        return Counter(job["State"].split()[0] for job in workflow.jobs(cluster).values())

    wait_until(lambda: states() == expected, lambda: f"{workflow.jobs(cluster)}\n{workflow.runs[-1].output}")


def test_tasks_of_an_array_have_their_own_state_log_retry_and_cancellation(
    slurm: Cluster, workflow: Workflow
) -> None:
    workflow.write(
        EIGHT.replace(
            "COMMAND",
            "case {wildcards.i} in "
            "3) echo 'no such data: three' >&2; exit 3;; "
            "5) [ -e tried ] || {{ touch tried; exit 1; }};; "
            "6) [ -e cancelled ] || {{ touch cancelled; sleep 300; }};; esac",
        )
    )
    run = workflow.start("--keep-going", "--retries", "1")
    wait_until((workflow.folder / "cancelled").exists)
    slurm.command("scancel", *ids(workflow, 6))
    output = run.end(status=1)

    assert [len(ids(workflow, i)) for i in range(8)] == [1, 1, 1, 2, 1, 2, 2, 1]
    array = {ids(workflow, i)[0].partition("_")[0] for i in range(8)}
    assert len(array) == 1 and 2 <= workflow.sbatches(slurm) <= 4  # one, and the retries as they became ready
    recorded(workflow, slurm, COMPLETED=7, FAILED=3, CANCELLED=1)
    assert [(workflow.folder / f"out {i}.txt").exists() for i in range(8)] == [i != 3 for i in range(8)]
    logs = workflow.folder / ".snakemake/submitit/logs/make"
    assert [len(list((logs / f"i={i}").glob("*.log"))) for i in range(8)] == [1, 1, 1, 2, 1, 2, 2, 1]

    failed = workflow.jobs(slurm)[ids(workflow, 3)[-1]]
    assert failed["State"] == "FAILED"
    for part in (
        "rule make (i=3) failed: the step failed (FAILED)",
        f"job {ids(workflow, 3)[0]} on n",
        f"job {ids(workflow, 3)[1]} on {failed['NodeList']}",
        "    no such data: three\n",
        "  log: .snakemake/submitit/logs/make/i=3/",
        "rule make (i=6) failed: the job was cancelled (CANCELLED)",
    ):
        assert part in output, output
    words = re.search(r"last lines of (\S+):\n.*no such data: three", output)
    assert words and "no such data: three" in (workflow.folder / words[1]).read_text()


def test_groups_pack_several_steps_in_one_job(slurm: Cluster, workflow: Workflow) -> None:
    workflow.write(
        EIGHT.replace("COMMAND", "[ {wildcards.i} != 3 ] || [ -e data ] || {{ echo no data >&2; exit 3; }}")
    )
    groups = ("--groups", "make=packed", "--group-components", "packed=4")
    output = workflow.run("--keep-going", *groups, status=1)
    together = Counter(ids(workflow, i)[0] for i in range(8))
    assert sorted(together.values()) == [4, 4]
    assert workflow.sbatches(slurm) == 1
    recorded(workflow, slurm, COMPLETED=1, FAILED=1)
    assert set(workflow.jobs(slurm)) == set(together)
    for part in (
        "group packed (make) failed: the step failed (FAILED)",
        f"job {ids(workflow, 3)[0]} on n",
        "no data",
    ):
        assert part in output, output
    (workflow.folder / "data").touch()
    workflow.run(*groups)
    assert all((workflow.folder / f"out {i}.txt").exists() for i in range(8))
    assert "Nothing to be done" in workflow.run(*groups)


def test_a_submission_refused_at_first_goes_through_later(slurm: Cluster, workflow: Workflow) -> None:
    workflow.write(EIGHT.replace("COMMAND", "true"))
    refusal = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    slurm.control("fail_sbatch", refusal)
    run = workflow.start()
    wait_until(lambda: "8 jobs were refused for now" in run.output)
    slurm.control("fail_sbatch", None)
    output = run.end()
    assert "Socket timed out on send/recv operation" in output and workflow.sbatches(slurm) == 2
    recorded(workflow, slurm, COMPLETED=8)


def test_the_impossible_fails_within_seconds_with_slurms_own_reason(
    slurm: Cluster, workflow: Workflow
) -> None:
    rules = {
        "nowhere": "slurm_partition='nowhere'",
        "wide": "nodes=1, slurm_extra='--mincpus=64'",
        "greedy": "gpu=7",
        "long": "runtime=600",
        "fine": "runtime=5",
    }
    workflow.write(
        f"rule all:\n    input: {sorted(rules)}\n"
        + "".join(
            f"rule {name}:\n    output: '{name}'\n    resources: {text}\n    shell: 'date > {name}'\n"
            for name, text in rules.items()
        )
    )
    output = workflow.run("--keep-going", status=1)
    for name, reason in {
        "nowhere": "invalid partition specified: nowhere",
        "wide": "Requested node configuration is not available",
        "greedy": "Requested node configuration is not available",
        "long": "SLURM can never start it: PartitionTimeLimit",
    }.items():
        assert re.search(rf"rule {name} (was refused by the cluster|failed): .*{reason}", output), output
        assert not (workflow.folder / name).exists()
    assert (workflow.folder / "fine").exists()
    recorded(workflow, slurm, COMPLETED=1, FAILED=2, CANCELLED=1)  # it keeps the two that it refused
    never = next(job for job in workflow.jobs(slurm).values() if job["State"].startswith("CANCELLED"))
    waited = [time.mktime(time.strptime(never[name], "%Y-%m-%dT%H:%M:%S")) for name in ("Submit", "End")]
    assert waited[1] - waited[0] < allowance_s() and never["ElapsedRaw"] == "0"


def test_hostile_names(slurm: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s $HOME "quoted" 100%used; #ü☺'
    folder.mkdir()
    workflow = Workflow(folder, slurm.environment)
    names = [
        "it's",
        'a "b" c',
        "one two=3",
        "$HOME $(date)",
        "ü ☺",
        "100%A_%j",
        "semi;colon & more",
        "star*?",
        "-dash",
    ]
    workflow.write(
        f"NAMES = {names!r}\n"
        """
rule all:
    input: ["made/" + name + ".txt" for name in NAMES]
rule make:
    input: "given/{name}"
    output: "made/{name}.txt"
    resources: runtime=5
    shell: "printf %s {wildcards.name:q} | cat - {input:q} > {output:q}"
"""
    )
    (folder / "given").mkdir()
    for name in names:
        (folder / "given" / name).write_text(f" and {name}")
    try:
        workflow.run()
    finally:
        workflow.kill()
    assert {path.name: path.read_text() for path in (folder / "made").iterdir()} == {
        f"{name}.txt": f"{name} and {name}" for name in names
    }
    assert workflow.sbatches(slurm) == 1
    recorded(workflow, slurm, COMPLETED=len(names))
    assert "Nothing to be done" in workflow.run()


def test_ctrl_c_cancels_pending_and_running_jobs_with_few_calls(slurm: Cluster, workflow: Workflow) -> None:
    workflow.write(
        """
rule all:
    input: expand("a{i}", i=range(250)), expand("b{i}", i=range(250))
rule a:
    output: "a{i}"
    resources: runtime=5
    shell: "sleep 600; touch {output}"
rule b:
    output: "b{i}"
    resources: runtime=6
    shell: "sleep 600; touch {output}"
"""
    )
    before = len(slurm.calls("scancel"))
    run = workflow.start("-j", "500")

    def queue(*which: str) -> Counter[str]:
        lines = slurm.command("squeue", "--noheader", "--array", "--format=%T %Z", *which).splitlines()
        return Counter(line.split()[0] for line in lines if line.endswith(str(workflow.folder)))

    wait_until(lambda: queue() == {"RUNNING": 8, "PENDING": 492}, message=lambda: f"{queue()}\n{run.output}")
    run.interrupt()
    run.end(status=1)
    wait_until(lambda: queue("--states=all") == {"CANCELLED": 500}, lambda: str(queue("--states=all")))
    assert len(slurm.calls("scancel")) - before == 1
    assert workflow.sbatches(slurm) <= 12  # Snakemake hands over 100 jobs a second, of two kinds


def test_500_short_steps_take_a_handful_of_calls(slurm: Cluster, workflow: Workflow) -> None:
    """Twenty steps to a job, four at a time: each job costs two starts of Python. benchmarks/executor.py has them one by one."""
    workflow.write(
        """
rule all:
    input: expand("out/{i}", i=range(500))
rule short:
    output: "out/{i}"
    resources: runtime=1, slot=1
    shell: "echo {wildcards.i} > {output}"
"""
    )
    before = {name: len(slurm.calls(name)) for name in ("squeue", "sacct", "scontrol")}
    start = time.monotonic()
    packed = ("--groups", "short=few", "--group-components", "few=20")
    workflow.run("-j", "500", *packed, "--resources", "slot=4", "--set-resource-scopes", "slot=local")
    seconds = time.monotonic() - start
    made = {path.name: path.read_text() for path in (workflow.folder / "out").iterdir()}
    assert made == {str(i): f"{i}\n" for i in range(500)}
    recorded(workflow, slurm, COMPLETED=25)
    assert workflow.sbatches(slurm) == 1
    calls = {name: len(slurm.calls(name)) - count for name, count in before.items()}
    assert calls["squeue"] <= 5 + seconds and calls["sacct"] <= 5 and calls["scontrol"] <= 1, calls
