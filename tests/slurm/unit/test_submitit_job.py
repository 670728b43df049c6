"""The list of steps that a submission leaves for its jobs, and the program that runs one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.job import program
from snakemake_executor_plugin_submitit.job.step import Step

_SCRIPTS = str(Path(__file__).parents[3] / "workflow_scripts/snakemake-executor-plugin-submitit")


def steps(folder: Path, *commands: str) -> Path:
    path = folder / "steps.jsonl"
    program.write_steps(path, [Step(c, str(folder), f"{i}.log", f"{i}.json") for i, c in enumerate(commands)])
    return path


def run(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The job's program, as the sbatch file calls it."""
    words = [sys.executable, "-u", "-m", "snakemake_executor_plugin_submitit.job.program", str(path)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    clean |= {"PYTHONPATH": _SCRIPTS} | environment
    return subprocess.run(words, env=clean, cwd=path.parent, capture_output=True, text=True, check=False)


def test_a_step_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = Step(
        "echo 'a\nb' \"ü\"", "/f", "l", "t", ("in 1", "in\t2"), 3.5, checkpoint=True, warning_s=7, restarts=2
    )
    path = tmp_path / "steps.jsonl"
    program.write_steps(path, [Step("true", "/f", "l", "t"), written])
    assert program.read_step(path, 1) == written


def test_each_task_of_an_array_runs_its_own_line(tmp_path: Path) -> None:
    path = steps(tmp_path, "echo zero", "echo one")
    assert run(path, SLURM_ARRAY_TASK_ID="1").returncode == 0
    assert (tmp_path / "1.log").read_text() == "one\n" and not (tmp_path / "0.log").exists()
    assert run(path).returncode == 0
    assert (tmp_path / "0.log").read_text() == "zero\n"


def test_a_failing_step_ends_with_an_error(tmp_path: Path) -> None:
    done = run(steps(tmp_path, "exit 3"))
    assert done.returncode == 1 and "the step ended with status 3" in done.stderr


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"task 4 needs a line.* has 1 steps"):
        program.read_step(steps(tmp_path, "true"), 4)
    monkeypatch.setattr(program, "_VISIBLE_S", 0.1)
    with pytest.raises(RuntimeError, match="must be visible on this node"):
        program.read_step(tmp_path / "nothing", 0)


def test_a_warning_before_the_step_does_not_end_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    monkeypatch.setattr(
        program, "read_step", lambda *_: lambda: signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    )
    try:
        assert program.main(tmp_path) is True
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_the_job_imports_the_standard_library_only() -> None:
    code = "import sys, snakemake_executor_plugin_submitit.job.program\n"
    code += "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": _SCRIPTS},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) - {"__main__"} == {"snakemake_executor_plugin_submitit"}
