"""Real SLURM clusters for the tests, one with and one without accounting, each started when first needed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from cluster_files import missing
from cluster_processes import processes_of
from patience import wait_until as _wait_until
from runs import Workflow


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A real SLURM with accounting, for the whole session."""
    yield from _running(accounting=True)


@pytest.fixture(scope="session")
def slurm_without_accounting() -> Iterator[Cluster]:
    """A real SLURM as on sites without slurmdbd, which forgets jobs some seconds after their end."""
    yield from _running(accounting=False, MinJobAge="5")


@pytest.fixture
def workflow(tmp_path: Path, slurm: Cluster) -> Iterator[Workflow]:
    """An empty workflow folder, with a space and a quote in its name, whose steps go to `slurm`."""
    yield from _workflow(tmp_path, slurm)


@pytest.fixture
def workflow_without_accounting(tmp_path: Path, slurm_without_accounting: Cluster) -> Iterator[Workflow]:
    """The same on `slurm_without_accounting`."""
    yield from _workflow(tmp_path, slurm_without_accounting)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Poll a condition for as long as this machine needs."""
    return _wait_until


@pytest.fixture(autouse=True)
def _left_as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """Faults off, no job left, all nodes idle: else the test fails, and the next one has a clean cluster all the same."""
    names = {"slurm", "slurm_without_accounting"} & set(request.fixturenames)
    clusters: list[Cluster] = [request.getfixturevalue(name) for name in names]
    yield
    left = [line for cluster in clusters for line in _tidy(cluster)]
    assert not left, f"left behind: {left}"


def _running(accounting: bool, **settings: str) -> Iterator[Cluster]:
    absent = missing(accounting)
    if absent and os.environ.get("CI"):
        pytest.fail(f"CI must run the tests on a real SLURM, but {absent}")
    if absent:
        pytest.skip(f"NOT TESTED ON A REAL SLURM: {absent}")
    # Not pytest's own folder: SLURM's sockets must have short names.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder, accounting, settings)
    try:
        with cluster:
            yield cluster
        assert not processes_of(folder), f"still running: {processes_of(folder)}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _workflow(tmp_path: Path, cluster: Cluster) -> Iterator[Workflow]:
    folder = tmp_path / "it's here"
    folder.mkdir()
    found = Workflow(folder, cluster.environment | {"OMP_NUM_THREADS": "1"}, hopeless=cluster.stuck)
    yield found
    found.kill()


def _tidy(cluster: Cluster) -> list[str]:
    if cluster.keep_jobs:
        return []
    faults = [path.name for path in (cluster.folder / "control").iterdir()]
    for fault in faults:
        cluster.control(fault, None)
    jobs = cluster.command("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
    left = [job for job in jobs if not job.endswith("COMPLETING")]
    if left:
        cluster.command("scancel", "--quiet", *{job.partition("_")[0].split()[0] for job in left})
    _wait_until(cluster.idle, cluster.queue)
    return faults + left
