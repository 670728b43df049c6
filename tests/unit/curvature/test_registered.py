"""Every registered estimator and structure: what the workflow reads of them, and what they import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from obtransfer.curvature.structures.base import parse
from obtransfer.dag.paths import WILDCARDS
from obtransfer.errors import ObtransferError
from obtransfer.registry import ESTIMATORS, LOSSES, STRUCTURES, resolve

ROOT = Path(__file__).parents[3] / "workflow_scripts"


def test_words_and_back() -> None:
    for name, options, word in [
        ("diagonal", {}, "diagonal"),
        ("block", {"block_size": 16}, "block16"),
        ("block", {"block_size": "row"}, "blockrow"),
        ("kfac", {}, "kfac"),
        ("ekfac", {}, "ekfac"),
        ("per_weight", {}, "per_weight"),
    ]:
        assert STRUCTURES[name].word(options) == word and parse(word) == (name, options)
        assert re.fullmatch(WILDCARDS["structure"], word)
    assert STRUCTURES["kfac"].word({"eigenvalue_correction": True}) == "ekfac"
    for wrong in ("block", "block0", "block016", "full", ""):
        with pytest.raises(ObtransferError, match="needed the word of a structure"):
            parse(wrong)


def test_names_are_those_of_the_files() -> None:
    assert all(structure.name == name for name, structure in STRUCTURES.items())
    assert all(ESTIMATORS[name].function.__name__ == name for name in ESTIMATORS)
    for loss in LOSSES.values():
        assert callable(resolve(loss).value)


def test_what_an_estimator_makes_exists() -> None:
    for name, estimator in ESTIMATORS.items():
        assert estimator.structures and all(structure in STRUCTURES for structure in estimator.structures), (
            name
        )
        if estimator.prior:
            before, _, word = estimator.prior.partition(".")
            assert parse(word)[0] in ESTIMATORS[before].structures


def test_settings_have_a_default_and_help() -> None:
    for estimator in ESTIMATORS.values():
        assert all(setting.help for setting in estimator.settings.values())
    assert ESTIMATORS["hessian"].settings.keys() == {"loss", "num_probes"}
    assert not ESTIMATORS["px"].settings


def test_nothing_of_it_imports_torch() -> None:
    code = (
        "import sys\n"
        "from obtransfer.registry import ESTIMATORS, STRUCTURES\n"
        "[(e.settings, e.structures) for e in ESTIMATORS.values()], [s.settings for s in STRUCTURES.values()]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_only_torch_is_needed_to_compute() -> None:
    """Not the workflow's packages: a statistic of a network of one's own, with those made impossible to import."""
    code = (
        "import sys\n"
        "for name in ('snakemake', 'timm', 'torchvision', 'pandas', 'yaml', 'pydantic', 'jsonschema', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "import torch\n"
        "from obtransfer.curvature import compute_statistic\n"
        "loader = [(torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))]\n"
        "found = compute_statistic(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2), loader)\n"
        "assert found['weight'].shape == (5, 3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_entries_that_do_not_fit_are_all_named() -> None:
    weights = {"a": np.ones((4, 3)), "b": np.ones(5)}
    statistics = {"a": np.ones((3, 4, 4)), "c": np.ones(1)}
    assert STRUCTURES["block"].problems(statistics, weights) == ["b: missing", "c: not among the weights"]
    assert STRUCTURES["diagonal"].problems({"a": np.ones((4, 3)), "b": np.ones(4)}, weights) == [
        "b: needed shape [5], got [4]"
    ]
