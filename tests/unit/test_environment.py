"""envs/create.sh with stand-ins for Python, uv and df: what it asks for, and what it says when it can't have it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "ln",
    "bash",
    "cat",
    "sha256sum",
    "cut",
    "basename",
    "dirname",
    "mkdir",
    "awk",
    "rm",
    "touch",
    "chmod",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project folder, and a PATH with nothing but coreutils, a good Python, a working uv and enough disk."""
    (tmp_path / "envs").mkdir()
    for name in ("create.sh", "requirements.txt", "requirements-dev.txt", "uv.txt"):
        shutil.copy(ROOT / "envs" / name, tmp_path / "envs" / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    stub(tmp_path, "python3", f'exec {sys.executable} "$@"')
    stub(tmp_path, "df", 'echo header; echo "/dev/x 1 1 99999999 1% /"')
    stub(
        tmp_path,
        "uv",
        'echo "$@" >> uv.calls; if [ "$1" = venv ]; then mkdir -p .venv/bin .venv/lib/python3.11/site-packages; touch .venv/bin/python; chmod +x .venv/bin/python; fi',
    )
    return tmp_path


def stub(folder: Path, name: str, body: str) -> None:
    path = folder / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
    path.chmod(0o755)


def create(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "envs/create.sh", *arguments],
        cwd=folder,
        env={"PATH": str(folder / "bin"), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )


def calls(folder: Path) -> list[str]:
    log = folder / "uv.calls"
    return log.read_text().splitlines() if log.exists() else []


def test_the_executor_is_where_snakemake_looks_for_it(folder: Path) -> None:
    assert create(folder).returncode == 0
    link = folder / ".venv/lib/python3.11/site-packages/snakemake_executor_plugin_submitit"
    assert os.path.normpath(link.parent / os.readlink(link)) == str(
        folder / "workflow_scripts/snakemake-executor-plugin-submitit/snakemake_executor_plugin_submitit"
    )


def test_hashes_are_required_and_nothing_is_done_twice(folder: Path) -> None:
    assert create(folder).returncode == 0
    assert [call.split()[0] for call in calls(folder)] == ["venv", "pip"]
    assert "--require-hashes -r envs/requirements.txt" in calls(folder)[1]
    assert create(folder).returncode == 0
    assert len(calls(folder)) == 2


def test_the_longer_list_serves_for_the_shorter_and_a_changed_list_is_installed(folder: Path) -> None:
    assert create(folder, "requirements-dev").returncode == 0
    before = len(calls(folder))
    assert create(folder, "requirements").returncode == 0
    assert len(calls(folder)) == before
    with (folder / "envs/requirements.txt").open("a") as stream:
        stream.write("# changed\n")
    assert create(folder, "requirements").returncode == 0
    assert len(calls(folder)) == before + 1


def test_an_old_python_is_named(folder: Path) -> None:
    stub(folder, "python3", 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    done = create(folder)
    assert done.returncode == 1
    assert (
        "Python 3.11 or newer is needed, but python3 is Python 3.9.2" in done.stderr and calls(folder) == []
    )


def test_no_python_at_all(folder: Path) -> None:
    (folder / "bin/python3").unlink()
    done = create(folder)
    assert done.returncode == 1 and "python3 is absent" in done.stderr


def test_a_full_disk_is_told_before_anything_is_downloaded(folder: Path) -> None:
    stub(folder, "df", 'echo header; echo "/dev/x 1 1 2097152 1% /"')
    done = create(folder)
    assert done.returncode == 1
    assert "takes about 7 GB, but 2 GB are free" in done.stderr and calls(folder) == []


def test_no_network_is_told_and_the_next_call_tries_again(folder: Path) -> None:
    works = (folder / "bin/uv").read_text().split("\n", 1)[1]
    stub(folder, "uv", 'if [ "$1" = pip ]; then exit 2; fi\n' + works)
    done = create(folder)
    assert done.returncode == 1 and "Without a network this can't be done" in done.stderr
    stub(folder, "uv", works)
    assert create(folder).returncode == 0


def test_pinned_lists_name_no_index_and_agree() -> None:
    lists = {
        name: (ROOT / "envs" / name).read_text()
        for name in ("requirements.txt", "requirements-dev.txt", "uv.txt")
    }
    for text in lists.values():
        assert "://" not in text and "--index" not in text and "--hash=sha256:" in text
    pins = {line.split(" \\")[0] for line in lists["requirements.txt"].splitlines() if "==" in line}
    assert pins <= {
        line.split(" \\")[0] for line in lists["requirements-dev.txt"].splitlines() if "==" in line
    }


def test_the_conda_file_has_the_same_versions() -> None:
    import yaml

    steps = yaml.safe_load((ROOT / "envs/steps.yaml").read_text())
    pinned = "\n" + (ROOT / "envs/requirements.txt").read_text()
    for requirement in steps["dependencies"][-1]["pip"]:
        assert f"\n{requirement} " in pinned, requirement
