"""The plugin's folder is a distribution: installed by itself, Snakemake finds it and runs a workflow with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "workflow_scripts/snakemake-executor-plugin-submitit"
FIND = """
from importlib.metadata import version
import snakemake_executor_plugin_submitit as plugin
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
found = ExecutorPluginRegistry().get_plugin("submitit")
print(plugin.__file__, version("snakemake-executor-plugin-submitit") == plugin.__version__, found.executor.__name__)
"""


@pytest.mark.slow
def test_the_folder_can_be_installed_and_snakemake_finds_it(tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(ROOT / ".venv/uv/bin/uv")
    source, target = tmp_path / "source", tmp_path / "packages"
    shutil.copytree(FOLDER, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    words = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target"]
    subprocess.run([*words, str(target), str(source)], check=True)

    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    package = target / "snakemake_executor_plugin_submitit"
    assert done.stdout.split() == [str(package / "__init__.py"), "True", "Executor"]
    installed = {path.relative_to(package) for path in package.rglob("*.py")}
    assert installed == {path.relative_to(FOLDER / package.name) for path in FOLDER.rglob("*.py")}

    (tmp_path / "Snakefile").write_text('rule make:\n    output: "out"\n    shell: "echo done > {output}"\n')
    flags = ("--executor", "submitit", "-j", "1", "--submitit-cluster", "local")
    subprocess.run([sys.executable, "-m", "snakemake", *flags], env=environment, cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "done\n"
