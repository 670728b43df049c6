import ast
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from obtransfer import registry
from obtransfer.declare import Registry
from obtransfer.runtime import provenance
from obtransfer.runtime.provenance import code_digest

STEP = '''"""A step."""
from obtransfer.runtime.step import run_step

def step():
    """Do it."""
    from obtransfer.rooms.used import work
    return work(1)
'''


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "step.py": STEP,
        "obtransfer/__init__.py": "",
        "obtransfer/runtime/step.py": "from obtransfer import warm\ndef run_step(): ...",
        "obtransfer/runtime/warm.py": "B = 1\n",
        "obtransfer/registry.py": "ALL = {}",
        "obtransfer/rooms/__init__.py": "",
        "obtransfer/rooms/used.py": "import numpy\nfrom obtransfer import registry\nfrom obtransfer.rooms import deep\n"
        "def work(x):\n    return deep.f(x) + 1\n",
        "obtransfer/rooms/deep.py": "def f(x):\n    return x\n",
        "obtransfer/rooms/unused.py": "A = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    forget()
    return tmp_path


def forget() -> None:
    """Digests are kept for the life of a process: files do not change while a DAG is built."""
    provenance._scan.cache_clear()
    code_digest.cache_clear()


def digest_after(tree: Path, name: str, old: str, new: str) -> str:
    path = tree / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    forget()
    return code_digest("step")


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("step.py", "work(1)", "work(2)"),
        ("obtransfer/runtime/step.py", "...", "return 1"),
        ("obtransfer/rooms/used.py", "+ 1", "+ 2"),
        ("obtransfer/rooms/deep.py", "return x", "return -x"),
    ],
)
def test_code_that_the_step_runs_changes_the_digest(tree: Path, name: str, old: str, new: str) -> None:
    assert code_digest("step") != digest_after(tree, name, old, new)


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("step.py", "Do it.", "Do it well."),
        ("step.py", "    return", "    # because\n    return"),
        ("obtransfer/rooms/deep.py", "    return x", "        \n    return  x  "),
        ("obtransfer/rooms/unused.py", "1", "2"),
        ("obtransfer/registry.py", "{}", "{1: 2}"),
        ("obtransfer/runtime/warm.py", "1", "2"),
    ],
)
def test_comments_docstrings_and_other_modules_do_not(tree: Path, name: str, old: str, new: str) -> None:
    assert code_digest("step") == digest_after(tree, name, old, new)


def test_modules_named_by_the_registry_count(tree: Path) -> None:
    before = code_digest("step", "obtransfer.rooms.unused:A")
    assert before != code_digest("step")
    digest_after(tree, "obtransfer/rooms/unused.py", "1", "2")
    assert before != code_digest("step", "obtransfer.rooms.unused:A")


def git(folder: Path, *command: str) -> str:
    """Without the settings of whoever runs the tests."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *names, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_the_commit_is_marked_where_tracked_files_differ_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_commit() == ""
    git(tmp_path, "init")
    assert provenance.git_commit() == ""
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    git(tmp_path, "tag", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("two")
    assert provenance.git_commit() == commit and len(commit) == 40
    (tmp_path / "file").write_text("two")
    assert provenance.git_commit() == f"{commit}-dirty"


def test_an_unknown_module_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"obtransfer\.nothing"):
        code_digest("obtransfer.nothing:f")


REGISTRIES = {
    name: entries
    for name, entries in vars(registry).items()
    if name.isupper() and not name.startswith("_") and isinstance(entries, Mapping)
}


def references(entries: Mapping[str, Any]) -> Iterator[str]:
    """Every ``module:attribute`` that a registry speaks of."""
    for name in entries:
        if isinstance(entries, Registry):
            yield f"{entries.module(name)}:{entries.attribute}"
            continue
        values = [entries[name]] if isinstance(entries[name], str) else vars(entries[name]).values()
        yield from (value for value in values if isinstance(value, str) and value.startswith("obtransfer."))


@pytest.mark.parametrize("entries", REGISTRIES.values(), ids=REGISTRIES)
def test_every_registered_name_exists(entries: Mapping[str, Any]) -> None:
    """Read from the syntax trees, because importing the modules would import torch."""
    for name in references(entries):
        module, _, attribute = name.partition(":")
        tree = ast.parse(provenance._module_file(module).read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
        defined |= {target.id for targets in assigned for target in targets if isinstance(target, ast.Name)}
        assert not attribute or attribute in defined, name
