"""SLURM's services fail, hang, forget and die; jobs end meanwhile, and nothing is lost, failed by mistake or told twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cluster import Cluster
from patience import allowance_s, wait_until
from runs import Run

from .counted import RULE_ALL, Counted, restart_slurmctld, rule

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

UNTIL_GO = "while [ ! -e go ]; do sleep 0.2; done; "
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
NO_DATABASE = "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection"


@dataclass
class Outage:
    """Three runs whose jobs end while SLURM can't be asked, and which SLURM has forgotten when it can.

    Attributes:
        deaf: squeue fails for some time and sacct for a minute; one job was killed before it could write down its end.
        slow: sacct never answers.
        lost: there is no accounting, and the only job was killed in the same way.
        outputs: what the three have printed.
        lost_after_s: how long the last one waited for a sign of its job.
    """

    deaf: Counted
    slow: Counted
    lost: Counted
    outputs: tuple[str, str, str]
    lost_after_s: float


@pytest.fixture(scope="module")
def outage(
    slurm: Cluster, slurm_without_accounting: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outage]:
    """The three of them at the same time, in about a minute and a half."""
    folder = tmp_path_factory.mktemp("outage")
    deaf = Counted(folder / "it's here", slurm, "--retries", "1", "--keep-going")
    slow = Counted(folder / "slow", slurm, "--submitit-command-timeout-s", "5")
    lost = Counted(folder / "lost", slurm_without_accounting, "--submitit-patience-min", "1")
    clusters = (slurm, slurm_without_accounting)
    slurm.configure(MinJobAge="5")
    for cluster in clusters:
        cluster.keep_jobs = True
    try:
        yield _happen(deaf, slow, lost)
    finally:
        for workflow in (deaf, slow, lost):
            workflow.end_all()
        slurm.configure(MinJobAge="300")
        for cluster in clusters:
            cluster.keep_jobs = False


def _happen(deaf: Counted, slow: Counted, lost: Counted) -> Outage:
    all_runs = (deaf, slow, lost)
    runs = _start(deaf, slow, lost)
    for workflow in all_runs:
        workflow.fault("fail_squeue", DOWN)
    deaf.fault("fail_sacct", NO_DATABASE)
    slow.fault("hang_sacct")
    for workflow in (deaf, slow):
        (workflow.folder / "go").touch()
    deaf.kill_step("gone")
    lost.kill_step("gone")
    deaf.wait_forgotten("good", "bad", "gone")
    slow.wait_forgotten("good")
    lost.wait_forgotten("gone")
    wait_until(lambda: "has not answered 3 times" in runs[0].output, lambda: runs[0].output)
    for workflow in all_runs:
        workflow.fault("fail_squeue", None)
    known = time.time()
    slow_output = runs[1].end()
    wait_until(
        lambda: deaf.calls("sacct.failed") >= 5, lambda: runs[0].output
    )  # 2, 4, 8, 16, then 32 s apart
    deaf.fault("fail_sacct", None)
    outputs = (runs[0].end(), slow_output, runs[2].end(1))
    return Outage(deaf, slow, lost, outputs, lost.runs[0].log.stat().st_mtime - known)


def _start(deaf: Counted, slow: Counted, lost: Counted) -> list[Run]:
    make = "touch {output}"
    deaf.write(
        RULE_ALL.format(inputs='"good", "bad", "gone"')
        + rule("good", UNTIL_GO + make)
        + rule("bad", UNTIL_GO + "if [ ! -e tried ]; then touch tried; exit 3; fi; " + make)
        + rule("gone", "if [ ! -e tried_gone ]; then touch tried_gone; sleep 300; fi; " + make)
    )
    slow.write(
        RULE_ALL.format(inputs='"good", "later"')
        + rule("good", UNTIL_GO + make)
        + rule("later", "sleep 45; " + make)
    )
    lost.write(RULE_ALL.format(inputs='"gone"') + rule("gone", UNTIL_GO + make))
    runs = [workflow.start() for workflow in (deaf, slow, lost)]
    deaf.wait_for("good", "bad", "gone")
    slow.wait_for("good", "later")
    lost.wait_for("gone")
    return runs


def test_jobs_that_end_while_the_queue_fails_are_taken_by_their_own_word(outage: Outage) -> None:
    output = outage.outputs[0]
    assert outage.deaf.begun() == {"good": 1, "bad": 2, "gone": 2}
    assert output.count("rule bad failed: the step ended with status 1 (FAILED)") == 1
    assert "rule good failed" not in output
    outage.deaf.nothing_to_do()


def test_a_job_without_a_word_of_its_own_waits_for_the_accounting(outage: Outage) -> None:
    output = outage.outputs[0]
    assert output.count("rule gone failed: the step was killed (signal 9)") == 1
    assert output.index("the accounting does not answer") < output.index("rule gone failed")


def test_the_user_is_told_once(outage: Outage) -> None:
    output = outage.outputs[0]
    assert output.count("has not answered 3 times in a row") == 1 and DOWN in output
    assert output.count("The cluster answers again") == 1
    assert (
        output.count("have left the queue and the accounting does not answer") == 1 and NO_DATABASE in output
    )


def test_an_accounting_that_hangs_holds_up_nothing(outage: Outage) -> None:
    assert outage.slow.begun() == {"good": 1, "later": 1} and outage.slow.calls("sacct") > 0
    outage.slow.nothing_to_do()


def test_a_job_that_left_no_trace_anywhere_is_given_up_in_time(outage: Outage) -> None:
    output = outage.outputs[2]
    assert (
        output.count("rule gone failed: SLURM has not known it for 1 min and it left no sign of its end") == 1
    )
    assert "(LOST)" in output and outage.lost.begun() == {"gone": 1}
    assert 55 < outage.lost_after_s < 60 + allowance_s()


def test_slurmctld_is_killed_and_started_again_while_jobs_run(
    slurm: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workflow = Counted(tmp_path_factory.mktemp("slurmctld") / "it's here", slurm)
    names = [f"step_{index}" for index in range(3)]
    inputs = ", ".join(f'"{name}"' for name in names)
    workflow.write(
        RULE_ALL.format(inputs=inputs) + "".join(rule(name, UNTIL_GO + "touch {output}") for name in names)
    )
    run = workflow.start()
    try:
        workflow.wait_for(*names)
        # SLURM writes its state down some seconds late; killed before that, it would start the jobs a second time.
        saved, begun = slurm.folder / "state/job_state", time.time()
        slurm.command("scontrol", "update", f"jobid={workflow.job(names[0])}", "timelimit=6")
        wait_until(lambda: saved.stat().st_mtime > begun, "slurmctld does not save its state")
        restart_slurmctld(
            slurm, lambda: wait_until(lambda: workflow.calls("squeue.failed") > 0, lambda: run.output)
        )
        (workflow.folder / "go").touch()
        output = run.end()
    finally:
        workflow.end_all()
    assert "Error" not in output
    assert workflow.begun() == dict.fromkeys(names, 1)
    workflow.nothing_to_do()
