"""Steps forked from a warm process behave as steps of their own."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LIBRARY = Path(__file__).resolve().parents[2] / "workflow_scripts"
SCRIPT = """
import sys
from types import SimpleNamespace
from obtransfer.runtime.step import run_step

def step(*, how: str):
    import os, signal, sys, time
    from pathlib import Path
    from obtransfer.errors import ObtransferError
    if how != "saves":
        Path("pid").write_text(str(os.getpid()))
    Path(f"{how}.begun").touch()
    print(f"parent {os.getppid()} torch {'torch' in sys.modules} here {os.environ['HERE']} ANSWER")
    if how == "fails":
        raise ObtransferError("no luck")
    if how == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "computes":
        import torch
        x = torch.ones(800, 800)
        print("sum", float((x @ x).sum()), torch.get_num_threads())
    if how == "counts":
        import torch
        from threadpoolctl import threadpool_info
        print("threads", {torch.get_num_threads(), *(found["num_threads"] for found in threadpool_info())})
    if how == "sleeps":
        time.sleep(60)
    if how.startswith("waits_for_"):
        while not Path(how).exists():
            time.sleep(0.02)
    if how == "saves":
        from obtransfer.runtime.stop import stop_requested
        told = stop_requested()
        Path("pid").write_text(str(os.getpid()))
        while not told():
            time.sleep(0.02)
        time.sleep(1)
        Path("saved").touch()
        raise ObtransferError("stopped as asked")

if __name__ == "__main__":
    run_step(step, SimpleNamespace(rule="step", threads=int(sys.argv[2]), log=["step.log"], output={}, input={}, params={},
             wildcards={"how": sys.argv[1]}), preload=("torch",))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("warm")
    (folder / "step.py").write_text(textwrap.dedent(SCRIPT))
    yield folder
    start(folder, "works").wait()
    server = int((folder / "step.log").read_text().split()[1])
    os.kill(server, signal.SIGTERM)


def temporary(folder: Path) -> Path:
    """Longer than the address of a socket may be."""
    path = folder / ("long" * 40)
    path.mkdir(exist_ok=True)
    return path


def start(folder: Path, how: str, threads: int = 2, **environment: str) -> subprocess.Popen[str]:
    inherited = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.Popen(
        [sys.executable, "step.py", how, str(threads)],
        cwd=folder,
        env=inherited
        | {"PYTHONPATH": str(LIBRARY), "TMPDIR": str(temporary(folder)), "HERE": "1"}
        | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def parent_of(folder: Path, how: str, **environment: str) -> str:
    process = start(folder, how, **environment)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return (folder / "step.log").read_text().split()[1]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_steps_share_a_parent_and_see_their_own_environment(folder: Path) -> None:
    first = parent_of(folder, "works", HERE="first")
    assert "torch True here first" in (folder / "step.log").read_text()
    assert parent_of(folder, "works", HERE="second") == first
    assert "torch True here second" in (folder / "step.log").read_text()


def test_threads_work_in_a_child(folder: Path) -> None:
    parent_of(folder, "computes")
    assert "sum 512000000.0 2" in (folder / "step.log").read_text()


def test_edited_code_is_seen_at_once(folder: Path) -> None:
    parent_of(folder, "works")
    text = (folder / "step.py").read_text()
    (folder / "step.py").write_text(text.replace("ANSWER", "another answer"))
    parent_of(folder, "works")
    assert "another answer" in (folder / "step.log").read_text()


def test_failures_and_deaths_are_told(folder: Path) -> None:
    failing = start(folder, "fails")
    _, errors = failing.communicate(timeout=120)
    assert failing.returncode == 1 and "no luck" in errors
    assert start(folder, "dies").wait(timeout=120) == 128 + signal.SIGSEGV


def test_a_killed_step_takes_its_child_along(folder: Path) -> None:
    parent_of(folder, "works")
    (folder / "pid").unlink()
    process = start(folder, "sleeps")
    while not ((folder / "pid").exists() and (folder / "pid").read_text()):
        time.sleep(0.05)
    child = int((folder / "pid").read_text())
    assert alive(child)
    process.kill()
    process.wait()
    deadline = time.time() + 10
    while alive(child) and time.time() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_a_killed_server_takes_its_children_along_and_the_next_step_starts_another(folder: Path) -> None:
    server = int(parent_of(folder, "works"))
    (folder / "pid").unlink()
    process = start(folder, "sleeps")
    while not ((folder / "pid").exists() and (folder / "pid").read_text()):
        time.sleep(0.05)
    child = int((folder / "pid").read_text())
    os.kill(server, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1 and "OBTRANSFER_WARM=0" in errors
    deadline = time.time() + 10
    while alive(child) and time.time() < deadline:
        time.sleep(0.05)
    assert not alive(child)
    assert int(parent_of(folder, "works")) != server


def begun(folder: Path) -> int:
    """The child, once it has begun."""
    while not ((folder / "pid").exists() and (folder / "pid").read_text()):
        time.sleep(0.05)
    return int((folder / "pid").read_text())


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM])
def test_a_step_passes_on_what_asks_it_to_stop_and_waits_for_the_save(
    folder: Path, number: signal.Signals
) -> None:
    for name in ("pid", "saved"):
        (folder / name).unlink(missing_ok=True)
    process = start(folder, "saves")
    child = begun(folder)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "stopped as asked" in errors
    assert (folder / "saved").exists() and not alive(child)


def test_a_save_is_finished_when_step_child_and_server_are_told_at_once(folder: Path) -> None:
    """As SLURM does."""
    server = int(parent_of(folder, "works"))
    for name in ("pid", "saved"):
        (folder / name).unlink(missing_ok=True)
    process = start(folder, "saves")
    for pid in (server, process.pid, begun(folder)):
        os.kill(pid, signal.SIGTERM)
    process.communicate(timeout=120)
    assert (folder / "saved").exists()
    deadline = time.time() + 60
    while alive(server) and time.time() < deadline:
        time.sleep(0.05)
    assert not alive(server) and int(parent_of(folder, "works")) != server


def test_a_signal_while_the_server_starts_is_kept_for_the_child(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "step.py").write_text((folder / "step.py").read_text())
    process = start(tmp_path, "sleeps")
    sockets = temporary(tmp_path) / f"obtransfer-{os.getuid()}"
    while not list(sockets.glob("*.socket")):  # it listens, and imports for seconds
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 128 + signal.SIGTERM
    os.kill(int(parent_of(tmp_path, "works")), signal.SIGTERM)


def test_a_finished_step_is_noticed_while_later_ones_run(folder: Path) -> None:
    """A child that keeps the connections of earlier steps would let their callers wait until it ends."""
    steps = {}
    for name in ("waits_for_first", "waits_for_second"):
        steps[name] = start(folder, name)
        while not (folder / f"{name}.begun").exists():
            assert steps[name].poll() is None
            time.sleep(0.02)
    (folder / "waits_for_first").touch()
    assert steps["waits_for_first"].wait(timeout=60) == 0
    assert steps["waits_for_second"].poll() is None
    (folder / "waits_for_second").touch()
    assert steps["waits_for_second"].wait(timeout=60) == 0


def test_a_step_runs_by_itself_where_no_private_folder_can_be_made(folder: Path, tmp_path: Path) -> None:
    (tmp_path / f"obtransfer-{os.getuid()}").touch()
    assert parent_of(folder, "works", TMPDIR=str(tmp_path)) == str(os.getpid())


@pytest.mark.parametrize("environment", [{"OBTRANSFER_WARM": "0"}, {"SLURM_JOB_ID": "1"}])
def test_it_can_be_done_without(folder: Path, environment: dict[str, str]) -> None:
    warm = parent_of(folder, "works")
    assert parent_of(folder, "works", **environment) == str(os.getpid()) != warm


def test_a_slurm_job_that_asks_for_it_has_a_server_of_its_own(folder: Path) -> None:
    outside = parent_of(folder, "works")
    servers = [parent_of(folder, "works", OBTRANSFER_WARM="1", SLURM_JOB_ID=job) for job in ("1", "1", "2")]
    for server in {*servers}:
        os.kill(int(server), signal.SIGTERM)
    assert servers[0] == servers[1]
    assert len({outside, *servers, str(os.getpid())}) == 4


def test_every_library_uses_the_threads_of_the_job(folder: Path) -> None:
    """Not those of the job that started the warm process: sums depend on them."""
    for threads in (1, 2, 1):
        process = start(folder, "counts", threads)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert f"threads {{{threads}}}\n" in (folder / "step.log").read_text()
