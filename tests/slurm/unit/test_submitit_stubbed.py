"""Whole runs of Snakemake against the stubbed cluster: arrays, faults, kills, edits."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from snakemake.common.tests import TestWorkflowsLocalStorageBase
from snakemake_executor_plugin_submitit.journal import read
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

from .conftest import FakeCluster, Workflow

pytestmark = pytest.mark.slow
Wait = Callable[..., None]

THREE = """
rule all:
    input: expand("out {i}.txt", i=range(3))
rule make:
    output: "out {i}.txt"
    resources: runtime=5
    shell: "echo run >> 'count {wildcards.i}'; COMMAND; echo {wildcards.i} > {output:q}"
"""


def counts(workflow: Workflow) -> list[int]:
    """How often each step of THREE has run."""
    return [len((workflow.folder / f"count {i}").read_text().split()) for i in range(3)]


def kill(process: Any) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_equal_jobs_go_in_one_sbatch_and_the_table_comes_at_the_end(
    cluster: FakeCluster, workflow: Workflow
) -> None:
    workflow.write(THREE.replace("COMMAND", "true"))
    output = workflow.run()
    assert len(cluster.calls("sbatch")) == 1
    assert sorted(cluster.started()) == ["100_0", "100_1", "100_2"]
    assert "What steps requested and used" in output and "make  3" in output
    assert "Nothing to be done" in workflow.run()
    assert len(cluster.calls("squeue")) < 40


def test_one_failing_task_is_reported_with_its_own_words(cluster: FakeCluster, workflow: Workflow) -> None:
    command = "if [ {wildcards.i} = 1 ]; then echo 'no such data: ten' >&2; exit 3; fi"
    workflow.write(THREE.replace("COMMAND", command))
    output = workflow.run("--keep-going", status=1)
    for part in (
        "rule make (i=1) failed",
        "no such data: ten",
        "(FAILED)",
        "logs/make/i=1/",
    ):
        assert part in output
    assert (workflow.folder / "out 0.txt").exists() and (workflow.folder / "out 2.txt").exists()
    assert output.count("failed: the step failed") == 1 and re.search(r"job 100_[0-2] on fake1", output)


def test_a_killed_controller_adopts_running_and_finished_jobs(
    cluster: FakeCluster, workflow: Workflow, wait_until: Wait
) -> None:
    workflow.write(THREE.replace("COMMAND", "[ {wildcards.i} = 0 ] || while [ ! -e go ]; do sleep 0.2; done"))
    first = workflow.start()
    wait_until(
        lambda: (workflow.folder / "out 0.txt").exists() and len(list(workflow.folder.glob("count *"))) == 3
    )
    kill(first)
    second = workflow.start()
    wait_until(lambda: len(cluster.calls("squeue")) > 3)
    (workflow.folder / "go").touch()
    output, _ = second.communicate(timeout=400)
    assert second.returncode == 0, output
    assert "Adopted" in output
    assert counts(workflow) == [1, 1, 1] and len(cluster.calls("sbatch")) == 1
    assert "Nothing to be done" in workflow.run()


def test_jobs_that_ended_while_no_controller_lived_count(
    cluster: FakeCluster, workflow: Workflow, wait_until: Wait
) -> None:
    workflow.write(THREE.replace("COMMAND", "sleep 1"))
    first = workflow.start()
    wait_until(lambda: len(cluster.started()) == 3)
    kill(first)
    wait_until(
        lambda: (
            "RUNNING"
            not in cluster.command("sacct", "--format=JobID,State,NodeList,ExitCode,Reason", "--jobs=100")
        )
    )
    cluster.control("forget")
    assert "Adopted 3 jobs" in workflow.run()
    assert counts(workflow) == [1, 1, 1]


def test_a_submission_whose_answer_was_never_read_is_found_again(
    cluster: FakeCluster, workflow: Workflow, wait_until: Wait
) -> None:
    workflow.write(THREE.replace("COMMAND", "while [ ! -e go ]; do sleep 0.2; done"))
    first = workflow.start()
    wait_until(lambda: len(cluster.started()) == 3 and len(list(workflow.folder.glob("count *"))) == 3)
    kill(first)
    journal = workflow.folder / ".snakemake/submitit/journal.jsonl"
    journal.write_text(
        "\n".join(line for line in journal.read_text().splitlines() if '"record"' in line) + "\n"
    )
    assert all(record.job_id == "" for record in read(journal).values())
    (workflow.folder / "go").touch()
    assert "Adopted 3 jobs" in workflow.run()
    assert counts(workflow) == [1, 1, 1]


def test_a_job_that_began_before_an_edit_is_cancelled_and_sent_again(
    cluster: FakeCluster, workflow: Workflow, wait_until: Wait
) -> None:
    workflow.write(THREE.replace("COMMAND", "while [ ! -e go ]; do sleep 0.2; done"))
    first = workflow.start()
    wait_until(lambda: len(list(workflow.folder.glob("count *"))) == 3)
    kill(first)
    workflow.write(THREE.replace("COMMAND", "echo edited"))
    output = workflow.run()
    assert "3 jobs of an earlier run have changed since" in output
    assert len(cluster.calls("scancel")) == 1 and counts(workflow) == [2, 2, 2]
    assert "CANCELLED" in cluster.command("squeue", "--me")


def test_accounting_that_fails_loses_nothing(cluster: FakeCluster, workflow: Workflow) -> None:
    cluster.control("forget")
    cluster.control("fail_sacct", "sacct: error: slurm_persist_conn_open: connection refused")
    workflow.write(THREE.replace("COMMAND", "true"))
    workflow.run()
    assert counts(workflow) == [1, 1, 1] and cluster.calls("sacct")


def test_no_accounting_is_asked_for_once(cluster: FakeCluster, workflow: Workflow) -> None:
    cluster.control("forget")
    cluster.control("no_accounting")
    workflow.write(THREE.replace("COMMAND", "sleep 2"))
    workflow.run("--submitit-no-efficiency")
    assert len(cluster.calls("sacct")) == 1


def test_a_queue_that_does_not_answer_loses_nothing(cluster: FakeCluster, workflow: Workflow) -> None:
    cluster.control("fail_squeue", "times=4\nslurm_load_jobs error: Unable to contact slurm controller")
    workflow.write(THREE.replace("COMMAND", "true"))
    output = workflow.run()
    assert "has not answered 3 times in a row" in output and "answers again" in output
    assert counts(workflow) == [1, 1, 1]


def test_a_queue_that_lies_and_shows_nothing_loses_nothing(
    cluster: FakeCluster, workflow: Workflow, wait_until: Wait
) -> None:
    cluster.control("no_accounting")
    workflow.write(THREE.replace("COMMAND", "while [ ! -e go ]; do sleep 0.2; done"))
    run = workflow.start()
    wait_until(lambda: len(list(workflow.folder.glob("count *"))) == 3)
    cluster.control("empty_squeue")
    asked = len(cluster.calls("squeue"))
    wait_until(lambda: len(cluster.calls("squeue")) > asked + 3)
    cluster.control("empty_squeue", None)
    (workflow.folder / "go").touch()
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0 and counts(workflow) == [1, 1, 1], output


def test_a_refused_submission_is_tried_again(cluster: FakeCluster, workflow: Workflow) -> None:
    cluster.control(
        "fail_sbatch", "times=1\nsbatch: error: Unable to contact slurm controller (connect failure)"
    )
    workflow.write(THREE.replace("COMMAND", "true"))
    assert "were refused for now" in workflow.run()
    assert len(cluster.calls("sbatch")) == 2 and counts(workflow) == [1, 1, 1]


@pytest.mark.parametrize("answer", ["{};cluster", "Auftrag {} abgeschickt", "\n", "failed\n1"])
def test_jobs_are_found_whatever_sbatch_answers(
    cluster: FakeCluster, workflow: Workflow, answer: str
) -> None:
    cluster.control("answer_sbatch", answer)
    workflow.write(THREE.replace("COMMAND", "true"))
    output = workflow.run()
    assert len(cluster.calls("sbatch")) == 1 and counts(workflow) == [1, 1, 1]
    assert "refused" not in output


def test_what_may_have_been_accepted_is_looked_for_and_not_sent_again(
    cluster: FakeCluster, workflow: Workflow, wait_until: Wait
) -> None:
    for name, text in (("answer_sbatch", "\n"), ("empty_squeue", ""), ("hold", "Priority")):
        cluster.control(name, text)
    workflow.write(THREE.replace("COMMAND", "true"))
    run = workflow.start()
    wait_until(lambda: "looking for them in the queue" in run.output, message=lambda: run.output)
    cluster.control("empty_squeue", None)
    cluster.command("scontrol", "release", "100")
    run.end()
    assert len(cluster.calls("sbatch")) == 1 and counts(workflow) == [1, 1, 1]


def test_an_impossible_partition_and_an_unknown_resource_fail_with_the_reason(
    cluster: FakeCluster, workflow: Workflow
) -> None:
    workflow.write(THREE.replace("COMMAND", "true").replace("runtime=5", "slurm_partition='nowhere'"))
    assert "invalid partition specified: nowhere" in workflow.run(status=1)
    workflow.write(THREE.replace("COMMAND", "true").replace("runtime=5", "walltime=5"))
    output = workflow.run(status=1)
    assert "unknown resource 'walltime'" in output and "slurm_partition: partition" in output


def test_a_job_that_can_never_start_fails_at_once(cluster: FakeCluster, workflow: Workflow) -> None:
    cluster.control("hold", "PartitionTimeLimit")
    workflow.write(THREE.replace("COMMAND", "true"))
    output = workflow.run(status=1)
    assert "SLURM can never start it: PartitionTimeLimit" in output and len(cluster.calls("scancel")) == 1


@pytest.mark.parametrize("choice", ["cancel", "leave"])
def test_ctrl_c(cluster: FakeCluster, workflow: Workflow, wait_until: Wait, choice: str) -> None:
    workflow.write(THREE.replace("COMMAND", "while [ ! -e go ]; do sleep 0.2; done"))
    run = workflow.start("--submitit-on-interrupt", choice)
    wait_until(lambda: len(list(workflow.folder.glob("count *"))) == 3)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=200)
    (workflow.folder / "go").touch()
    if choice == "cancel":
        assert [line.split()[-1] for line in cluster.calls("scancel")] == ["100"], output
    else:
        assert not cluster.calls("scancel") and "the next run adopts them" in output
    workflow.run()
    assert counts(workflow) == ([2, 2, 2] if choice == "cancel" else [1, 1, 1])


def test_a_requeued_job_goes_on_under_its_id(
    cluster: FakeCluster, workflow: Workflow, wait_until: Wait
) -> None:
    workflow.write(THREE.replace("COMMAND", "[ -e go ] || sleep 60"))
    run = workflow.start()
    wait_until(lambda: len(list(workflow.folder.glob("count *"))) == 3)
    (workflow.folder / "go").touch()
    for task in range(3):
        cluster.command("scontrol", "requeue", f"100_{task}")
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output
    assert counts(workflow) == [2, 2, 2] and len(cluster.calls("sbatch")) == 1
    assert sorted(cluster.started()) == sorted(["100_0", "100_1", "100_2"] * 2)


class OnStub(TestWorkflowsLocalStorageBase):
    """Snakemake's own tests of an executor: a simple workflow and one with groups."""

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(collect_seconds=0.1)


class TestSnakemakesOwnOnTheStub(OnStub):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _stub(self, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)


class TestSnakemakesOwnLocally(OnStub):
    __test__ = True

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="local", collect_seconds=0.1)

    @pytest.fixture(autouse=True)
    def _paths(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv(
            "PYTHONPATH",
            str(Path(__file__).parents[3] / "workflow_scripts/snakemake-executor-plugin-submitit"),
        )
        monkeypatch.chdir(tmp_path)


class TestSnakemakesOwnInProcess(TestSnakemakesOwnLocally):
    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="debug", collect_seconds=0.1)
