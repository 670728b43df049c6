"""A small workflow, run once for all tests, and copies of it to change."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from project import Project, create


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project in which nothing has run."""
    return create(tmp_path / "fresh")


@pytest.fixture(scope="session")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which everything has run, one for all of pytest's workers; not to be changed."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "completed"
    with FileLock(f"{folder}.lock"):
        if not (folder / "results/summary.txt").exists():
            shutil.rmtree(folder, ignore_errors=True)
            create(folder).snakemake()
    return Project(folder)


@pytest.fixture
def copy(completed: Project, tmp_path: Path) -> Project:
    """A copy, times included, of the project in which everything has run."""
    shutil.copytree(completed.folder, tmp_path / "copy", symlinks=True)
    return Project(tmp_path / "copy")
