"""Run the jobs of any Snakemake workflow on SLURM through submitit: `snakemake --executor submitit`.

Every Snakemake process imports every installed plugin, and each job on the cluster imports this package to find its program.
So nothing is imported here before it is needed.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_MODULES = {"Executor": "executor", "ExecutorSettings": "settings", "common_settings": "settings"}


def __getattr__(name: str) -> Any:
    """The three names that Snakemake reads from an executor plugin, imported on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
