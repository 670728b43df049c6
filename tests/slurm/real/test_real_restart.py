"""The controller is killed, stopped or absent while jobs go on: the next one takes them over, and nothing runs twice."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from cluster import Cluster
from patience import wait_until
from runs import Run

from .counted import RULE_ALL, Counted, kill, rule

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

# Deaf to what tells it to stop, so that a cancelled one lives until SLURM kills it: whatever is sent behind it has to wait.
UNTIL_GO = "trap '' TERM; while [ ! -e go ]; do sleep 0.2; done; "
GROUPED = ("grouped_0", "grouped_1", "grouped_2", "grouped_3")
CHANGED = ("params", "code", "input")


@dataclass
class Story:
    """One workflow, its three runs (stopped, killed, finished), and what became of its jobs.

    Attributes:
        outputs: what each run printed.
        submissions: number of sbatch calls after each run.
        before: job ids when the first run was stopped.
    """

    workflow: Counted
    outputs: tuple[str, str, str]
    submissions: tuple[int, int, int]
    before: dict[str, str]


@pytest.fixture(scope="module")
def story(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Ctrl-C that leaves the jobs; one ends; a second run adopts all and is killed; an edit; a third run ends it."""
    workflow = Counted(
        tmp_path_factory.mktemp("restart") / "it's here",
        slurm,
        *("--group-components", "g=2", "--submitit-on-interrupt", "leave"),
    )
    slurm.keep_jobs = True
    try:
        yield _tell(workflow, slurm)
    finally:
        slurm.keep_jobs = False
        workflow.end_all()


def _snakefile(value: int) -> str:
    names = ("done", "queued", *CHANGED, *GROUPED)
    make = "echo made > {output}"
    text = RULE_ALL.format(inputs=", ".join(f'"{name}"' for name in names))
    text += rule("done", "while [ ! -e go_done ]; do sleep 0.2; done; " + make)
    text += rule("queued", make, more="slurm_extra='--begin=now+1hour'")
    text += rule("params", UNTIL_GO + "echo {params.value} > {output}", before=f"params: value={value}")
    text += rule("code", UNTIL_GO + f"echo {value} > {{output}}")
    text += rule("input", UNTIL_GO + "cp data {output}", before='input: "data"')
    text += "".join(rule(name, UNTIL_GO + make, before='group: "g"') for name in GROUPED)
    return text


def _tell(workflow: Counted, slurm: Cluster) -> Story:
    (workflow.folder / "data").write_text("1\n")
    workflow.write(_snakefile(1))
    first = workflow.start()
    workflow.wait_for("done", *CHANGED)
    wait_until(lambda: workflow.begun().keys() & set(GROUPED) != set(), lambda: first.output)
    submissions = [workflow.calls("sbatch")]
    first.interrupt()
    outputs = [first.end(1)]
    before = {name: workflow.job(name) for name in ("done", *CHANGED)}
    (workflow.folder / "go_done").touch()
    slurm.wait_for_state(before["done"], "COMPLETED")
    second = workflow.start()
    wait_until(lambda: "(Rule: done)" in second.output, lambda: second.output)
    kill(second)
    outputs.append(second.output)
    submissions.append(workflow.calls("sbatch"))
    (workflow.folder / "data").write_text("2\n")
    workflow.write(_snakefile(2))
    third = workflow.start()
    wait_until(
        lambda: all(workflow.begun()[name] == 2 for name in CHANGED),
        lambda: third.output,
        hopeless=slurm.stuck,
    )
    queued = [job for job, state in _states(slurm).items() if state == "PENDING"]
    slurm.command("scontrol", "update", f"jobid={queued[0]}", "starttime=now")
    (workflow.folder / "go").touch()
    outputs.append(third.end())
    submissions.append(workflow.calls("sbatch"))
    return Story(workflow, (*outputs,), (*submissions,), before)


def _states(slurm: Cluster) -> dict[str, str]:
    lines = slurm.command("squeue", "-h", "-t", "all", "--array", "-o", "%i %T").splitlines()
    return dict(line.split() for line in lines)


def test_ctrl_c_can_leave_jobs_to_the_next_run(story: Story) -> None:
    assert "Leaving 7 jobs queued or running; the next run adopts them" in story.outputs[0]
    assert "Adopted 7 jobs of an earlier run" in story.outputs[1]


def test_a_job_that_ended_while_no_controller_lived_counts_and_nothing_is_sent(story: Story) -> None:
    assert story.workflow.begun()["done"] == 1 and story.outputs[1].count("(Rule: done)") == 1
    assert story.submissions[0] == story.submissions[1]


def test_what_changed_is_cancelled_and_sent_again_behind_the_old_job(story: Story, slurm: Cluster) -> None:
    assert (
        "3 jobs of an earlier run have changed since: cancelling and submitting them again"
        in story.outputs[2]
    )
    for name in CHANGED:
        was, _, ended = _accounted(slurm, story.before[name])
        state, began, _ = _accounted(slurm, story.workflow.job(name))
        assert was.startswith("CANCELLED") and state == "COMPLETED", (name, was, state)
        assert began >= ended, name
    made = {name: (story.workflow.folder / name).read_text() for name in CHANGED}
    assert made == dict.fromkeys(CHANGED, "2\n")


def _accounted(slurm: Cluster, job: str) -> tuple[str, datetime, datetime]:
    text = slurm.command("sacct", "-n", "-P", "-X", f"--jobs={job}", "--format=State,Start,End")
    state, began, ended = text.splitlines()[0].split("|")
    return state, datetime.fromisoformat(began), datetime.fromisoformat(ended)


def test_what_did_not_change_runs_once_groups_and_queued_jobs_too(story: Story) -> None:
    assert story.workflow.begun() == dict.fromkeys(("done", "queued", *GROUPED), 1) | dict.fromkeys(
        CHANGED, 2
    )
    assert "Adopted 3 jobs of an earlier run" in story.outputs[2]  # the queued one and two groups
    story.workflow.nothing_to_do()


@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "no accounting"])
def test_all_jobs_end_and_are_forgotten_while_no_controller_lives(
    accounting: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    slurm: Cluster = request.getfixturevalue("slurm" if accounting else "slurm_without_accounting")
    workflow = Counted(tmp_path / "it's here", slurm)
    names = [f"step_{index}" for index in range(3)]
    steps = [rule(name, "while [ ! -e go ]; do sleep 0.2; done; touch {output}") for name in names]
    workflow.write(RULE_ALL.format(inputs=", ".join(f'"{name}"' for name in names)) + "".join(steps))
    run = workflow.start()
    workflow.wait_for(*names)
    kill(run)
    (workflow.folder / "go").touch()
    if accounting:
        for name in names:
            slurm.wait_for_state(workflow.job(name), "COMPLETED")
    else:
        workflow.wait_forgotten(*names)
    output = workflow.run()
    assert "Adopted 3 jobs" in output and workflow.calls("sbatch") == 1
    assert workflow.begun() == dict.fromkeys(names, 1)
    workflow.nothing_to_do()


KILLS = 10


def _thirty(rng: random.Random) -> str:
    """Two layers and an aggregate; the second layer waits for `go`, so that the end does not come before the last kill."""
    leaves = [f"leaf_{index}" for index in range(24)]
    text = RULE_ALL.format(inputs='"summary"')
    for leaf in leaves:
        text += rule(leaf, f"sleep {rng.uniform(0, 2):.2f}; echo {leaf} > {{output}}")
    for index in range(5):
        mine = leaves[index::5]
        text += rule(
            f"branch_{index}",
            "while [ ! -e go ]; do sleep 0.2; done; sort {input} > {output}",
            before=f"input: {', '.join(repr(name) for name in mine)}",
            runtime=str(5 + index % 2),
        )
    branches = ", ".join(f"'branch_{index}'" for index in range(5))
    return text + rule(
        "summary", "cat {input} | sha256sum > {output}; cat {input} >> {output}", before=f"input: {branches}"
    )


def test_a_controller_killed_ten_times_makes_the_same_and_nothing_twice(
    slurm: Cluster, tmp_path: Path
) -> None:
    rng = random.Random(4)
    workflow = Counted(tmp_path / "it's here", slurm, "--submitit-command-timeout-s", "20")
    snakefile = _thirty(rng)
    workflow.write(snakefile)
    slurm.keep_jobs = True
    try:
        _kill_again_and_again(workflow, rng)
    finally:
        slurm.keep_jobs = False
        workflow.end_all()
    assert len(workflow.begun()) == 30 and set(workflow.begun().values()) == {1}, workflow.begun()
    workflow.nothing_to_do()
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "Snakefile").write_text(snakefile)
    (undisturbed / "go").touch()
    words = [sys.executable, "-m", "snakemake", "--cores", "8", "--quiet", "all"]
    Run(words, tmp_path / "undisturbed.log", cwd=undisturbed, env=workflow.environment).end()
    assert (workflow.folder / "summary").read_bytes() == (undisturbed / "summary").read_bytes()


def _is_at_work(workflow: Counted, run: Run, sent: int) -> bool:
    return "Adopted" in run.output or workflow.calls("sbatch") > sent or run.poll() is not None


def _kill_again_and_again(workflow: Counted, rng: random.Random) -> None:
    """Before and after an sbatch that it does not live to hear of, at random moments of its start-up, and of its work."""
    begun = time.monotonic()
    workflow.fault("die_before_sbatch")
    _until_killed(workflow)
    start_up_s = time.monotonic() - begun
    workflow.fault("die_after_sbatch")
    for count in range(1, KILLS):
        sent, run = workflow.calls("sbatch"), workflow.start()
        if count % 3:  # the one before may have left nothing to adopt, then this one sends
            wait_until(partial(_is_at_work, workflow, run, sent), partial(getattr, run, "output"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(rng.uniform(0, 1) * start_up_s)
        kill(run)
        assert run.returncode == -9, run.output
    while (workflow.faults / "die_after_sbatch").exists():  # the second layer has not been sent yet
        _until_killed(workflow)
    (workflow.folder / "go").touch()
    workflow.run()


def _until_killed(workflow: Counted) -> None:
    run = workflow.start()
    wait_until(lambda: run.poll() is not None, lambda: run.output)
