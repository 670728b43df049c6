"""What ships is what the registry and the cards say."""

import hashlib
import json
from pathlib import Path

import pytest
from obtransfer.registry import ARCHITECTURES, BACKBONES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", BACKBONES)
def test_files_cards_and_registry_agree(name: str) -> None:
    entry = BACKBONES[name]
    weights = ROOT / entry.address.removeprefix("file:")
    card = json.loads(weights.with_suffix(".json").read_text())
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == entry.sha256 == card["sha256"]
    assert weights.stat().st_size == card["bytes"] <= 2_000_000
    assert f"{card['architecture']}.{card['pretraining']}" == name
    assert tuple(card["mean"]) == entry.mean and tuple(card["std"]) == entry.std
    assert card["input_size"] == entry.input_size


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_an_architecture_the_grid_knows(name: str) -> None:
    assert name.split(".")[0] in ARCHITECTURES


@pytest.mark.parametrize("name", BACKBONES)
def test_the_aim_of_pre_training_is_met(name: str) -> None:
    card = json.loads((ROOT / f"resources/pretrained/{name}.json").read_text())
    aim = 0.95 if name.endswith(".supervised") else 0.75
    assert card["mean_ridge_accuracy_pretraining_tasks"] >= aim
