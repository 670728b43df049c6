"""Signals to a running step: none is lost, a save gets its time, and nothing outlives the job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.job import watch
from snakemake_executor_plugin_submitit.job.step import Step

from .steps import SCRIPTS, clean_environment, in_process, make_step, outcome

Wait = Callable[..., None]

# Notes each signal, and ends with status 3 when it has saved, which takes some seconds.
STEP = """
import os, signal, sys, time
save_s, ends = float(sys.argv[1]), sys.argv[2] == "ends"
came = []
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda number, _: came.append(number))
with open("pids", "a") as pids:
    pids.write(f"{os.getpid()}\\n")
told = open("told", "w", buffering=1)
open("ready", "w").close()
noted = 0
while not came or not ends:
    time.sleep(0.02)
    for number in came[noted:]:
        told.write(f"{signal.Signals(number).name} {time.monotonic()}\\n")
        noted += 1
until = time.monotonic() + save_s
while time.monotonic() < until:
    time.sleep(0.02)
told.write("".join(f"{signal.Signals(number).name} {time.monotonic()}\\n" for number in came[noted:]))
open("saved", "w").close()
sys.exit(3)
"""
# As Snakemake does: told to stop, it waits for its job; a job that fails makes it fail.
CONTROLLER = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: None)
with open("pids", "a") as pids:
    pids.write(f"{os.getpid()}\\n")
job = subprocess.Popen(["bash", "-c", f"echo $$ >> pids; {sys.argv[1]}; exit $?"])
sys.exit(1 if job.wait() else 0)
"""


def step_command(folder: Path, save_s: float = 0, ends: bool = True) -> str:
    (folder / "step.py").write_text(STEP)
    return f"'{sys.executable}' -S step.py {save_s} {'ends' if ends else 'goes_on'}"


def tree_command(folder: Path, save_s: float = 0, ends: bool = True) -> str:
    """Shell, something like Snakemake, bash, step."""
    (folder / "controller.py").write_text(CONTROLLER)
    return f"""echo $$ >> pids; '{sys.executable}' -S controller.py "{step_command(folder, save_s, ends)}\""""


def told(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "told").read_text().splitlines()]


def pids(folder: Path) -> list[int]:
    """The shell, the controller, its bash and the step, by when they started (parents have smaller times)."""
    found = {int(line) for line in (folder / "pids").read_text().split()}
    assert len(found) == 4
    return sorted(
        found, key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    )


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "checkpoint", "hears", "exit_status"),
    [
        (signal.SIGUSR2, True, "SIGUSR2", 144),  # back to the queue
        (signal.SIGUSR2, False, "SIGUSR2", 1),
        (signal.SIGTERM, True, "SIGUSR2", 1),
        (signal.SIGTERM, False, "SIGTERM", 1),
    ],
)
def test_a_signal_during_the_start_reaches_the_step(
    tmp_path: Path, number: signal.Signals, checkpoint: bool, hears: str, exit_status: int
) -> None:
    # Between the start of the shell and the moment when anyone could know its process.
    early = f"""
        def __init__(self, *words, **more):
            super().__init__(*words, **more)
            while not os.path.exists("ready"): time.sleep(0.01)
            os.kill(os.getpid(), {int(number)})
    """
    process = _with_popen(tmp_path, early, make_step(tmp_path, step_command(tmp_path), checkpoint=checkpoint))
    assert process.wait(60) == exit_status
    assert told(tmp_path) == [hears] and (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("number", "checkpoint", "exit_status"),
    [
        (signal.SIGUSR2, True, 144),
        (signal.SIGUSR2, False, 0),  # the step has no handler for it yet
        (signal.SIGTERM, True, 1),
        (signal.SIGTERM, False, 1),
    ],
)
def test_a_signal_before_the_start_is_remembered(
    tmp_path: Path, number: signal.Signals, checkpoint: bool, exit_status: int
) -> None:
    early = f"""
        def __init__(self, *words, **more):
            os.kill(os.getpid(), {int(number)})
            super().__init__(*words, **more)
    """
    command = "sleep 60" if exit_status else "sleep 2"
    step = make_step(tmp_path, command, checkpoint=checkpoint, warning_s=21, kill_wait_s=5)
    process = _with_popen(tmp_path, early, step)
    assert process.wait(50) == exit_status


def _with_popen(folder: Path, init: str, step: Step) -> subprocess.Popen[bytes]:
    patch = "import os, subprocess, time\nfrom snakemake_executor_plugin_submitit.job import watch\n"
    patch += f"class Early(subprocess.Popen):\n{init}\nwatch.subprocess.Popen = Early\n"
    return in_process(folder, step, before=patch)


def test_a_warning_before_the_step_is_read_waits_for_it(tmp_path: Path, wait_until: Wait) -> None:
    from snakemake_executor_plugin_submitit.job import program

    path = tmp_path / "steps.jsonl"
    words = [sys.executable, "-m", "snakemake_executor_plugin_submitit.job.program", str(path)]
    process = subprocess.Popen(words, env=clean_environment(PYTHONPATH=SCRIPTS), cwd=tmp_path)
    held_back = 1 << (signal.SIGUSR2 - 1)

    def blocked() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return bool(int(status.partition("SigBlk:")[2].split()[0], 16) & held_back)

    wait_until(blocked)
    process.send_signal(signal.SIGUSR2)
    step = make_step(tmp_path, "sleep 60", checkpoint=True, warning_s=21)
    program.write_steps(tmp_path / "new", [step])
    (tmp_path / "new").rename(path)
    assert process.wait(50) == 144


ORDERS = {
    "child first": lambda job, tree: [*tree, job],
    "step first": lambda job, tree: [*tree[::-1], job],
    "leader first": lambda job, tree: [job, *tree],
    "all at once": lambda job, tree: [tree[0], job, *tree[1:]],
}


@pytest.mark.parametrize("save_s", [1, 5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_save_is_finished_when_every_process_gets_term(
    tmp_path: Path, wait_until: Wait, save_s: float
) -> None:
    """In every order, with and without a checkpoint. All save at the same time, since they only wait."""
    running = []
    for order, checkpoint in product(ORDERS, (True, False)):
        folder = tmp_path / f"{order} {checkpoint}".replace(" ", "_")
        folder.mkdir()
        step = make_step(folder, tree_command(folder, save_s), checkpoint=checkpoint)
        running.append((folder, order, in_process(folder, step, SLURM_JOB_ID="42", PATH="/usr/bin:/bin")))
    trees = {}
    for folder, order, process in running:
        wait_until((folder / "ready").exists)
        trees[folder] = pids(folder)
        for pid in ORDERS[order](process.pid, trees[folder]):
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
            time.sleep(0 if order == "all at once" else 0.2)
    for folder, _, process in running:
        assert process.wait(save_s + 60) == 1, folder.name
        assert (folder / "saved").exists(), folder.name
        assert told(folder) == ["SIGTERM"], folder.name  # a second signal could disturb a save
        assert outcome(folder)["exit_code"] != 0 and not any(map(alive, trees[folder])), folder.name


def test_a_save_is_finished_when_term_comes_to_the_job_alone(tmp_path: Path, wait_until: Wait) -> None:
    process = in_process(tmp_path, make_step(tmp_path, tree_command(tmp_path, 1)))
    wait_until((tmp_path / "ready").exists)
    tree = pids(tmp_path)
    process.terminate()
    assert process.wait(60) == 1
    assert (tmp_path / "saved").exists() and told(tmp_path) == ["SIGTERM"] and not any(map(alive, tree))


def test_a_save_at_the_time_limit_is_finished(tmp_path: Path, wait_until: Wait) -> None:
    """Warned, still at work when the margin before the limit begins, then told by TERM: its shell ends, the save goes on."""
    script = STEP.replace("(signal.SIGUSR2, signal.SIGTERM)", "(signal.SIGTERM,)")
    command = tree_command(tmp_path, 3)
    (tmp_path / "step.py").write_text(script)
    process = in_process(tmp_path, make_step(tmp_path, command, checkpoint=True, warning_s=21))
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(60) == 144
    assert (tmp_path / "saved").exists() and told(tmp_path) == ["SIGTERM"]


@pytest.mark.parametrize("checkpoint", [True, False])
def test_what_goes_on_is_told_again_and_killed_before_slurm_does_it(
    tmp_path: Path, wait_until: Wait, checkpoint: bool
) -> None:
    step = make_step(tmp_path, tree_command(tmp_path, ends=False), checkpoint=checkpoint, kill_wait_s=6)
    process = in_process(tmp_path, step)
    wait_until((tmp_path / "ready").exists)
    tree, begun = pids(tmp_path), time.monotonic()
    for pid in (process.pid, *tree):
        os.kill(pid, signal.SIGTERM)
    assert process.wait(60) == 1
    assert time.monotonic() - begun >= 0.9 * 6
    assert told(tmp_path) == ["SIGTERM", "SIGTERM"] and not any(map(alive, tree))


@pytest.mark.parametrize(
    ("answer", "saved"),
    [
        ("RUNNING {preempted} {end}", True),
        ("RUNNING N/A {end}", False),  # told by hand: nobody says that it may take longer
        ("COMPLETING {preempted} {end}", False),
        ("", False),
    ],
)
def test_a_preempted_job_that_slurm_lets_run_has_its_grace_time(
    tmp_path: Path, wait_until: Wait, answer: str, saved: bool
) -> None:
    now, later = (time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + s)) for s in (0, 60))
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\necho "$@" > asked\necho {answer.format(preempted=now, end=later)}\n')
    squeue.chmod(0o755)
    step = make_step(tmp_path, tree_command(tmp_path, save_s=7), checkpoint=True, kill_wait_s=5)
    process = in_process(
        tmp_path, step, PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_JOB_ID="9", SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="2"
    )  # fmt: skip
    wait_until((tmp_path / "ready").exists)
    for pid in (process.pid, *pids(tmp_path)):
        os.kill(pid, signal.SIGTERM)
    assert process.wait(60) == (
        144 if saved else 1
    )  # a job that ends by itself in this time is not requeued by SLURM
    assert (tmp_path / "saved").exists() is saved
    assert (tmp_path / "asked").read_text().startswith("-h -j 7_2 ")


def test_a_cancelled_job_is_not_put_back_in_the_queue(tmp_path: Path, wait_until: Wait) -> None:
    step = make_step(tmp_path, step_command(tmp_path, 2), checkpoint=True)
    process = in_process(tmp_path, step)
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGUSR2)
    wait_until(lambda: "limit is near" in (tmp_path / "logs/step.log").read_text())
    process.terminate()
    assert process.wait(60) == 1
    assert "back to the queue" not in (tmp_path / "logs/step.log").read_text()


def test_processes_in_groups_of_their_own_end_with_the_step(tmp_path: Path) -> None:
    command = "timeout 60 sleep 50 & sleep 0.2; exit 0"
    process = in_process(tmp_path, make_step(tmp_path, command))
    assert process.wait(60) == 0
    left = [path for path in Path("/proc").glob("[0-9]*") if _works_in(path, tmp_path)]
    assert left == []


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return process.joinpath("cwd").resolve(strict=True) == folder and alive(int(process.name))
    except OSError:
        return False


def test_the_inbox_leaves_signals_as_it_found_them() -> None:
    def state() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGCHLD)]

    before = state()
    with watch.Inbox() as inbox:
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert sorted(inbox.wait(10) + inbox.wait(0)) == sorted([signal.SIGUSR2, signal.SIGTERM])
        assert inbox.wait(0) == b""
    assert state() == before and signal.set_wakeup_fd(-1) == -1
