"""Configurations whose grids the tests go through."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from obtransfer.config import load
from obtransfer.dag.inputs import Inputs
from obtransfer.settings import Configuration

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
DAMPED = {"estimator": "ggn", "damping": 0.1}
CRITERIA: dict[str, dict[str, Any]] = {
    "obs": {"criterion": "obs", "block_size": 8, **DAMPED, "damping": "chosen"},
    "obs_updated": {"criterion": "obs", "block_size": 8, **DAMPED, "damping": "chosen", "update": "joint"},
    "obs_fine": {"criterion": "obs", "block_size": "row", **DAMPED},
    "kfac_obs": {"criterion": "kfac_obs", **DAMPED},
    "ekfac_obs": {"criterion": "kfac_obs", **DAMPED, "eigenvalue_correction": True},
    "grasp_in_rounds": {"criterion": "grasp", "rounds": 3, "schedule": "linear"},
    "obs_in_rounds": {"criterion": "obs", "block_size": 8, **DAMPED, "rounds": 2},
    "synflow": {"criterion": "synflow", "rounds": 20},
}
EVERY: dict[str, Any] = {
    "grid": {
        "backbones": ["miniresnet.supervised", "minivit.dino"],
        "sources": ["upper", "greek"],
        "criteria": ["magnitude", "random", "snip", "grasp", *CRITERIA],
        "allocations": ["global", "erk"],
        "sparsities": [0.5, 0.90],
        "batchnorm": ["keep", "recalibrate"],
        "seeds": [0, 1],
        "finetune": ["keep"],
    },
    "criteria": CRITERIA,
    "damping_choice": {"candidates": [0.01, 1.0], "sparsities": [0.5]},
}


def _complete(**changes: Any) -> Configuration:
    raw: dict[str, Any] = copy.deepcopy(DEFAULT)
    for key, value in copy.deepcopy(changes).items():
        merged = isinstance(value, Mapping) and isinstance(raw.get(key), Mapping) and key != "criteria"
        raw[key] = {**raw[key], **value} if merged else value
    return load(raw)


Complete = Callable[..., Configuration]


@pytest.fixture(scope="session")
def complete() -> Complete:
    """The default configuration with other values at the top, or within the top's mappings."""
    return _complete


@pytest.fixture(scope="session")
def every() -> Configuration:
    """Two backbones, sources and seeds, and every kind of criterion."""
    return _complete(**EVERY)


@pytest.fixture
def inputs(every: Configuration) -> Inputs:
    return Inputs(every)


class Job(SimpleNamespace):
    """Wildcards as Snakemake gives them: attributes, and a mapping of text."""

    def keys(self) -> list[str]:
        return list(vars(self))

    def __getitem__(self, name: str) -> str:
        found: str = getattr(self, name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


@pytest.fixture(scope="session")
def job() -> Callable[..., Job]:
    """Make wildcards."""
    return Job
