"""Steps as Snakemake's jobs run them, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from obtransfer.artifacts import read_tensors
from obtransfer.runtime.device import device
from obtransfer.runtime.stop import stop_requested

LIBRARY = Path(__file__).resolve().parents[3] / "workflow_scripts"
SCRIPT = '''
"""A step, run by a stand-in for Snakemake's preamble."""
import sys
from pathlib import Path
from types import SimpleNamespace
from obtransfer.runtime.step import run_step

def step(source: Path, tasks: list[Path], mask: Path | None, target: Path, *, level: str, power: int, made: dict):
    from obtransfer.artifacts import write_tensors
    from obtransfer.errors import ObtransferError
    import numpy as np
    print("working")
    if power == 0:
        raise ObtransferError("power must be positive; got 0: set it in config.yaml")
    write_tensors(target, {"x": np.array([1])}, kind="mask", metadata={
        "types": [type(source).__name__, type(tasks[0]).__name__, mask, level, 2 // (power - 1)], "made": made})

class Named(dict):
    def __iter__(self):
        return (path for v in self.values() for path in ([v] if isinstance(v, str) else v))

snakemake = SimpleNamespace(
    rule="step", threads=1, log=["logs/step/a.log"], output=Named(target="out/x.safetensors"),
    input=Named(source="a.txt", tasks=["b.txt"], mask=[]),
    params={"power": int(sys.argv[1]), "code": "abc"}, wildcards={"level": "high"})

run_step(step, snakemake)
'''


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "step.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


def run(script: Path, power: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), str(power)],
        cwd=script.parent,
        env={"PYTHONPATH": str(LIBRARY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_step_gets_typed_arguments_and_leaves_log_times_and_provenance(script: Path) -> None:
    done = run(script, 2)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (script.parent / "logs/step/a.log").read_text() == "working\n"
    times = json.loads((script.parent / "logs/step/a.times.json").read_text())
    assert times["rule"] == "step" and times["work_seconds"] > 0 and 0 < times["startup_seconds"] < 60
    card = read_tensors(script.parent / "out/x.safetensors", kind="mask").metadata
    assert card["types"] == ["PosixPath", "PosixPath", None, "high", 2]
    made = card["made"]
    assert (
        made["rule"] == "step"
        and made["settings"]["code"] == "abc"
        and made["wildcards"] == {"level": "high"}
    )
    assert "numpy" in made["versions"]


def test_a_mistake_of_the_user_is_one_message_without_traceback(script: Path) -> None:
    done = run(script, 0)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "step level=high failed:",
        "power must be positive; got 0: set it in config.yaml",
        "Log: logs/step/a.log",
    ]
    assert "Traceback" not in (script.parent / "logs/step/a.log").read_text()
    assert not (script.parent / "out/x.safetensors").exists()


def test_an_unforeseen_error_leaves_its_traceback_in_the_log_and_its_end_on_the_terminal(
    script: Path,
) -> None:
    done = run(script, 1)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in (script.parent / "logs/step/a.log").read_text()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "cuda"),
        ({"SLURM_JOB_ID": "7"}, "cpu"),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": ""}, "cpu"),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "1"}, "cuda"),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0"}, "cuda"),
    ],
)
def test_a_job_uses_a_gpu_that_it_was_given(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    seeing = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", seeing)
    assert device() == expected
    monkeypatch.delitem(sys.modules, "torch")
    assert device() == "cpu"


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM])
def test_the_wish_to_stop_is_kept_to_be_told(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)}
    try:
        told = stop_requested()
        assert not told()
        os.kill(os.getpid(), number)
        assert told()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_second_wish_to_stop_during_the_first_is_no_deadlock() -> None:
    """SLURM's TERM and USR2 come at the same moment. Here the second one comes before every line of the handler."""
    code = """
import signal, sys
from obtransfer.runtime.stop import stop_requested
told, sent = stop_requested(), []
def interrupt(frame, event, argument):
    if len(sent) < 50:
        sent.append(event)
        signal.raise_signal(signal.SIGTERM)
    return interrupt
handler = signal.getsignal(signal.SIGUSR2)
sys.settrace(interrupt)
handler(signal.SIGUSR2, None)
sys.settrace(None)
print(bool(sent) and told())
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "True\n"
