"""What runs inside the job: outcome, signals, restarts; and that the package is light."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.job.step import StepError
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from .steps import SCRIPTS, in_process, make_step, outcome

_CHECKPOINTS = (
    f'exec {sys.executable} -S -c "import signal, sys, time; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(3)); '
    "open('ready', 'w'); time.sleep(30)\""
)


def test_a_step_leaves_its_output_and_a_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_step(tmp_path, "echo out; echo err >&2")() == 0
    assert (tmp_path / "logs/step.log").read_text() == "out\nerr\n"
    found = outcome(tmp_path)
    assert found["exit_code"] == 0 and found["starts"] == 1 and found["end"] >= found["start"]


def test_nothing_that_a_step_started_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deaf = "(trap '' TERM HUP; touch begun; while :; do date > late; sleep 0.05; done) & while [ ! -e begun ]; do :; done; exit 3"
    assert make_step(tmp_path, deaf, quiet=True)() == 3
    time.sleep(0.2)  # what was killed may be in the middle of its last call
    (tmp_path / "late").unlink(missing_ok=True)
    time.sleep(0.3)
    assert not (tmp_path / "late").exists()


def test_a_failing_step_raises_so_that_slurm_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match="status 7"):
        make_step(tmp_path, "exit 7")()
    assert outcome(tmp_path)["exit_code"] == 7
    assert make_step(tmp_path, "exit 7", quiet=True)() == 7


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("Command 'set -euo pipefail; work' died with <Signals.SIGKILL: 9>.", 137),
        ("Command 'set -euo pipefail; work' returned non-zero exit status 137.", 137),
        ("Command 'set -euo pipefail; work' returned non-zero exit status 1.", 1),
        ("x died with <Signals.SIGKILL: 9>. and goes on", 1),
    ],
)
def test_a_step_that_was_killed_inside_snakemake_is_known_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").write_text(words + "\nmore\n")
    assert make_step(tmp_path, "cat words; exit 1", quiet=True)() == status
    assert outcome(tmp_path)["exit_code"] == status
    assert make_step(tmp_path, "exit 1", quiet=True)() == 1  # what an earlier start said does not count


def test_missing_inputs_stop_the_step_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match="status 66"):
        make_step(tmp_path, "touch ran", wait_for=("input",), latency_wait_s=0.1)()
    assert not (tmp_path / "ran").exists()
    assert "not visible on this node" in (tmp_path / "logs/step.log").read_text()


def test_a_job_that_starts_too_often_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    with pytest.raises(StepError, match="status 75"):
        make_step(tmp_path, "touch ran", restarts=2)()
    assert "started again 3 times, 2 are allowed" in (tmp_path / "logs/step.log").read_text()


def test_the_warning_reaches_only_who_listens(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    deaf = in_process(tmp_path, make_step(tmp_path, "touch ready; sleep 2; touch done"))
    wait_until((tmp_path / "ready").exists)
    deaf.send_signal(signal.SIGUSR2)
    assert deaf.wait(20) == 0 and (tmp_path / "done").exists()


def test_a_checkpointing_step_is_requeued(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    # Outside SLURM, submitit's local executor starts a job with status 144 again.
    process = in_process(tmp_path, make_step(tmp_path, _CHECKPOINTS, checkpoint=True))
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(20) == 144
    log = (tmp_path / "logs/step.log").read_text()
    assert "the time limit is near" in log and "back to the queue" in log
    assert "exit_code" not in outcome(tmp_path)  # not over


def test_in_slurm_the_requeue_is_slurms(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    fake = tmp_path / "bin" / "scontrol"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@" > requeued\n')
    fake.chmod(0o755)
    step = make_step(tmp_path, _CHECKPOINTS, checkpoint=True)
    path = f"{fake.parent}:{os.environ['PATH']}"
    process = in_process(tmp_path, step, PATH=path, SUBMITIT_EXECUTOR="slurm", SLURM_JOB_ID="42")
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGUSR2)
    wait_until(
        lambda: (tmp_path / "requeued").exists() and (tmp_path / "requeued").read_text() == "requeue 42\n"
    )
    time.sleep(0.3)
    assert process.poll() is None  # waits for SLURM to end it
    process.kill()
    process.wait()


def test_after_the_last_allowed_start_there_is_no_requeue(
    tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    step = make_step(tmp_path, _CHECKPOINTS, checkpoint=True, restarts=1)
    process = in_process(tmp_path, step, SLURM_RESTART_COUNT="1")
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(20) == 1
    assert outcome(tmp_path)["exit_code"] == 3


def test_a_warned_step_that_goes_on_is_stopped_in_time(
    tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    step = make_step(
        tmp_path, "touch ready; sleep 60", checkpoint=True, warning_s=21
    )  # a second before the margin
    process = in_process(tmp_path, step)
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(30) == 144


def test_scancel_ends_the_step(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    process = in_process(tmp_path, make_step(tmp_path, "touch ready; sleep 60"))
    wait_until((tmp_path / "ready").exists)
    process.terminate()
    assert process.wait(20) == 1
    assert outcome(tmp_path)["exit_code"] == -signal.SIGTERM


def test_snakemake_finds_the_plugin() -> None:
    plugin = ExecutorPluginRegistry().get_plugin("submitit")
    flags = {info["cliarg"]: info for info in plugin.get_settings_info()}
    assert flags["--submitit-cluster"]["choices"] == ["slurm", "local", "debug"]
    assert plugin.common_settings.non_local_exec


def test_an_import_is_light_and_runs_nothing() -> None:
    code = "import sys, snakemake_executor_plugin_submitit as p; light = set(sys.modules); p.Executor, p.common_settings\n"
    code += "print('snakemake_interface_executor_plugins' in light, 'submitit' in sys.modules, 'numpy' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": SCRIPTS, "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "False"]
