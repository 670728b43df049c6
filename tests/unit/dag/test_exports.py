"""The models that the configuration's `export` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from obtransfer.dag.grid import exports
from obtransfer.settings import Configuration

OBS = "obs/upper/seed_0/global/sparsity_0.9"
GRID = {"backbones": ["miniresnet.supervised", "minivit.dino"], "sparsities": [0.5, 0.9]}


Targets = Callable[..., list[str]]


@pytest.fixture
def targets(complete: Callable[..., Configuration]) -> Targets:
    def find(**export: Any) -> list[str]:
        return [
            str(found) for found in exports(complete(grid=GRID, **({"export": export} if export else {})))
        ]

    return find


def test_nothing_is_exported_unless_configured(targets: Targets) -> None:
    assert targets() == []


def test_one_criterion_and_sparsity(targets: Targets) -> None:
    folder = f"exports/miniresnet.supervised/{OBS}"
    assert targets(criteria=["obs"], sparsities=[0.90], backbones=["miniresnet.supervised"]) == [
        f"{folder}/keep/features",
        f"{folder}/keep/on_upper/seed_0/features",
        f"{folder}/recalibrate_upper/features",
    ]


def test_forms_name_the_source_and_stages_and_batchnorm_choose(targets: Targets) -> None:
    found = targets(
        criteria=["magnitude"], sparsities=[0.5], batchnorm=["keep"], stages=["finetuned"], forms=["zero_shot", "probe"]
    )  # fmt: skip
    assert found == [
        f"exports/{backbone}/magnitude/global/sparsity_0.5/keep/on_upper/seed_0/{form}_upper"
        for backbone in ("miniresnet.supervised", "minivit.dino")
        for form in ("probe", "zero_shot")
    ]


def test_the_dense_model_only_when_named(targets: Targets) -> None:
    assert not any("/dense/" in path for path in targets(batchnorm=["keep"]))
    folder = "exports/minivit.dino/dense/keep"
    found = targets(criteria=["dense"], sparsities=[0.5], backbones=["minivit.dino"])
    assert found == [f"{folder}/features", f"{folder}/on_upper/seed_0/features"]
