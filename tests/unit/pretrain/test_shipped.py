"""The backbones that ship: files, cards and registry agree; the weights fit their architecture."""

import hashlib
import json
from pathlib import Path

import pytest
from obtransfer.models.known import BACKBONES
from obtransfer.pretrain.loop import PREPROCESSING
from obtransfer.pretrain.recipes import RECIPES

FOLDER = Path(__file__).parents[3] / "resources" / "pretrained"
LEAST_ACCURACY = {"supervised": 0.95, "mocov2": 0.75, "dino": 0.75}


@pytest.mark.parametrize("name", RECIPES)
def test_file_card_and_registry_agree(name: str) -> None:
    content = (FOLDER / f"{name}.safetensors").read_bytes()
    card = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    entry = BACKBONES[name]
    assert hashlib.sha256(content).hexdigest() == card["sha256"] == entry.sha256
    assert len(content) == card["bytes"] < 2_000_000
    assert entry.address == f"resources/pretrained/{name}.safetensors"
    assert entry.preprocessing == PREPROCESSING
    assert tuple(card["mean"]) == entry.preprocessing.mean
    assert tuple(card["std"]) == entry.preprocessing.std
    assert card["mean_ridge_accuracy_pretraining_tasks"] >= LEAST_ACCURACY[card["pretraining"]]
    assert card["recipe"]["steps"] == card["spent"]["steps"] == RECIPES[name].steps


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_weights_fit_their_architecture(name: str) -> None:
    from obtransfer.pretrain.publish import published

    model = published(FOLDER / f"{name}.safetensors")
    assert not model.training
    assert all(parameter.isfinite().all() for parameter in model.parameters())
