"""What an artefact was made from: the code's digest, the commit, the versions."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The rules read the registry and pass each step the entry it needs, so a new entry reruns nothing. How a process
# starts and how a progress bar looks changes no number.
_NOT_FOLLOWED = {
    "obtransfer.registry",
    "obtransfer.models.known",
    "obtransfer.settings",
    "obtransfer.runtime.warm",
    "obtransfer.runtime.progress",
}
_PACKAGES = ("numpy", "torch", "timm", "safetensors")


@cache
def code_digest(*names: str) -> str:
    """Digest of the code that the named first-party modules run, their first-party imports included.

    Snakemake does not see imported modules. With this digest as a rule's parameter, an edited function reruns the rules
    that use it. An edited comment, docstring or layout reruns nothing, because only syntax trees without docstrings are
    hashed. Imports inside functions count; modules named in strings must be passed in `names`.

    Args:
        names: modules below `workflow_scripts`, as ``compute_mask`` or ``obtransfer.criteria.obd``; an attribute
            behind a colon is ignored.

    Raises:
        FileNotFoundError: a name is not a first-party module.
    """
    pending = [name.partition(":")[0] for name in names]
    modules: dict[str, str] = {}
    while pending:
        name = pending.pop()
        if name not in modules and name not in _NOT_FOLLOWED:
            modules[name], imports = _scan(_module_file(name))
            pending.extend(imports)
    return hashlib.sha256(repr(sorted(modules.items())).encode()).hexdigest()[:16]


def git_commit() -> str:
    """The commit of the checkout, with ``-dirty`` where tracked files differ from it; empty outside of a checkout.

    One call of git, 3 to 4 ms.
    """
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},  # steps run side by side
        ).stdout.strip()
    except OSError:
        return ""


def versions() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _module_file(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no module {name} below {ROOT.name}/")


@cache
def _scan(path: Path) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module)
            imports.update(f"{node.module}.{alias.name}" for alias in node.names)
        _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(
        filter(_is_first_party, sorted(imports))
    )


def _drop_docstring(node: ast.AST) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]


def _is_first_party(name: str) -> bool:
    if name.partition(".")[0] != "obtransfer":
        return False
    try:
        _module_file(name)
    except FileNotFoundError:
        return False
    return True
