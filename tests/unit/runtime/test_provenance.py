from pathlib import Path

import pytest
from obtransfer.runtime import provenance
from obtransfer.runtime.provenance import source_digest

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
    source_digest.cache_clear()


def digest_after(tree: Path, name: str, old: str, new: str) -> str:
    path = tree / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    forget()
    return source_digest("step")


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
    assert source_digest("step") != digest_after(tree, name, old, new)


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
    assert source_digest("step") == digest_after(tree, name, old, new)


def test_modules_named_by_the_registry_count(tree: Path) -> None:
    before = source_digest("step", "obtransfer.rooms.unused:A")
    assert before != source_digest("step")
    digest_after(tree, "obtransfer/rooms/unused.py", "1", "2")
    assert before != source_digest("step", "obtransfer.rooms.unused:A")


def test_an_unknown_module_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"obtransfer\.nothing"):
        source_digest("obtransfer.nothing:f")


@pytest.mark.parametrize(
    "registered",
    ["SOURCES", "ESTIMATORS", "LOSSES", "ALLOCATIONS", "TASKS", "DATASETS", "BACKBONES"],
)
def test_every_registered_name_exists(registered: str) -> None:
    """Static, so that the registry can be checked without importing torch."""
    import ast

    from obtransfer import registry

    for entry in getattr(registry, registered).values():
        names = [getattr(entry, key, "") for key in ("score", "compute", "source", "load", "images")]
        name = entry if isinstance(entry, str) else next(filter(None, names))
        module, _, attribute = name.partition(":")
        tree = ast.parse(provenance._module_file(module).read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
        defined |= {target.id for targets in assigned for target in targets if isinstance(target, ast.Name)}
        assert ({attribute} if attribute else {"convert"}) <= defined, name
