"""The private SLURM itself: what it offers, how it fails to start, what it leaves behind."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cluster_files
import pytest
from cluster import Cluster
from cluster_processes import ClusterError, processes_of
from patience import allowance_s

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]
Wait = Callable[..., None]
SCRIPT = Path(__file__).parents[1] / "cluster.py"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new one with a short name."""
    path = Path(tempfile.mkdtemp(prefix="slurm-"))
    yield path
    shutil.rmtree(path)


def running(cluster: Cluster) -> list[str]:
    """Ids of the running jobs."""
    return cluster.command("squeue", "--noheader", "--array", "--states=R", "--format=%i").split()


def test_it_has_two_nodes_gpus_partitions_and_accounting(slurm: Cluster, wait_until: Wait) -> None:
    nodes = slurm.command("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %c %m %G")
    assert nodes.splitlines() == ["n1 4 64000 gpu:1", "n2 4 64000 gpu:1"]
    partitions = set(slurm.command("sinfo", "--noheader", "--format=%P %l %p").splitlines())
    assert partitions == {"main* 1:00:00 5", "low 1:00:00 1", "lenient 1:00:00 1", "high 1:00:00 10"}
    words = [
        "srun",
        "--gres=gpu:1",
        "--nodelist=n2",
        "sh",
        "-c",
        "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES",
    ]
    assert slurm.command(*words).split() == ["n2", "0"]
    wait_until(lambda: "n2|COMPLETED" in slurm.command("sacct", "-nPX", "--format=NodeList,State"))


def test_one_without_accounting_says_so_and_forgets_soon(slurm_without_accounting: Cluster) -> None:
    cluster = slurm_without_accounting
    with pytest.raises(ClusterError, match="accounting storage is disabled"):
        cluster.command("sacct")
    assert re.search(r"MinJobAge\s+= 5 sec", cluster.command("scontrol", "show", "config"))


def test_the_shims_note_each_call_and_fail_or_dawdle_when_told(slurm: Cluster) -> None:
    def squeue(*words: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["squeue", *words],
            env=slurm.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout or allowance_s(),
        )

    before = len(slurm.calls("squeue"))
    assert squeue("--me", "--format=two\nlines of it").returncode == 0
    slurm.control("fail_squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    failed = squeue()
    slurm.control("fail_squeue", None)
    assert failed.returncode == 1 and failed.stderr.splitlines() == [
        "slurm_load_jobs error: Unable to contact slurm controller"
    ]
    slurm.control("slow_squeue", "30")
    with pytest.raises(subprocess.TimeoutExpired):
        squeue(timeout=2)
    slurm.control("slow_squeue", None)
    assert "NODELIST" in squeue().stdout
    assert slurm.calls("squeue")[before:] == [
        "squeue --me --format=two lines of it",
        "squeue",
        "squeue",
        "squeue",
    ]


def test_a_node_can_die_and_come_back_while_its_job_goes_on(
    slurm: Cluster, tmp_path: Path, wait_until: Wait
) -> None:
    wrapped = f"while [ ! -e {shlex.quote(str(tmp_path / 'go'))} ]; do sleep 0.2; done"
    job = slurm.command("sbatch", "--parsable", "-o", "/dev/null", "-w", "n1", "--wrap", wrapped).strip()
    slurm.wait_for_state(job, "RUNNING")
    slurm.kill_node("n1")
    slurm.start_node("n1")
    assert running(slurm) == [job]
    (tmp_path / "go").touch()
    slurm.wait_for_state(job, "COMPLETED")


@pytest.mark.parametrize("accounting", [True, False])
def test_nothing_is_left_when_it_stops(
    folder: Path, accounting: bool, slurm: Cluster, wait_until: Wait
) -> None:
    stubborn = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 500' & sleep 500"
    with Cluster(folder, accounting) as cluster:
        assert cluster.idle() and slurm.idle()  # two beside each other
        cluster.command("sbatch", "--output=/dev/null", "--wrap", stubborn)
        wait_until(lambda: sum("sleep 500" in name for name in processes_of(folder).values()) >= 3)
        names = " ".join(processes_of(folder).values())
        for daemon in ("munged", "slurmctld", *(["mariadbd"] if accounting else [])):
            assert daemon in names
        assert os.listdir(folder)
    assert processes_of(folder) == {}
    assert slurm.idle()


def test_a_daemon_that_dies_is_told_with_its_own_words_and_nothing_is_left(folder: Path) -> None:
    cluster = Cluster(folder, accounting=False, settings={"SwitchType": "switch/nonsense"})
    with pytest.raises(ClusterError, match=r"(?s)slurmctld has died.*switch/nonsense"):
        cluster.start()
    assert processes_of(folder) == {}


def test_what_is_missing_is_told_with_its_debian_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(cluster_files.PACKAGES) - {"slurmdbd", "munged"}:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(cluster_files, "search_path", lambda: str(tmp_path))
    with pytest.raises(ClusterError, match=r"^munged, slurmdbd not found; .* install munge slurmdbd$"):
        Cluster(folder).start()
    with pytest.raises(ClusterError, match=r"^munged not found; .* install munge$"):
        Cluster(folder, accounting=False).start()


@pytest.mark.parametrize("name", ["with space", "x" * 80, "quote'"])
def test_an_impossible_folder_name_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="at most 70 plain characters"):
        Cluster(Path("/tmp") / name)


def test_the_command_line_starts_and_removes_it(folder: Path) -> None:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * allowance_s(),
        )

    place = folder / "c"
    exports = call("up", str(place), "--no-accounting")
    assert exports.returncode == 0, exports.stderr
    shell = ["sh", "-c", exports.stdout + "\nsinfo -h -o %N:%D -p main; command -v sbatch"]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split() == [
        "n[1-2]:2",
        f"{place}/bin/sbatch",
    ]
    again = call("up", str(place))
    assert again.returncode == 1 and "stop that cluster first" in again.stderr
    assert call("down", str(place)).returncode == 0
    assert not place.exists() and processes_of(folder) == {}
    assert call("down", str(place)).stderr == f"no cluster in {place}\n"
