"""The card's numbers, and the words around them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obtransfer.artifacts import write_table
from obtransfer.export.card import accuracy_rows, model_section, write_card
from obtransfer.export.card_text import write_text
from obtransfer.export.costs import bytes_section, flops_section, sparsity_section
from obtransfer.export.flops import Flops
from obtransfer.masks.mask import Mask

MASK = {"conv": np.arange(12).reshape(4, 3) % 4 == 0, "head": np.ones((2, 2), dtype=bool)}
STATE = {"conv": np.where(MASK["conv"], 1.5, 0).astype(np.float32), "head": np.ones((2, 2), np.float32), "bias": np.ones(4, np.float32)}  # fmt: skip
FLOPS = Flops({"conv": 2 * 9 * 12, "head": 2 * 4}, attention=100, other=0)


def card(tmp_path: Path, *, fit_split: str = "train", tuned: bool = False) -> dict[str, Any]:
    rows = [
        {"task": "upper", "head": head, "accuracy": accuracy, "loss": 0.1, "num_test": 50, "fit_split": split}
        for head, accuracy, split in (("zero_shot", 0.75, fit_split), ("probe", 0.875, "train"))
    ]
    dense = [row | {"accuracy": 0.9375} for row in rows]
    for name, content in (("this.csv", rows), ("dense.csv", dense)):
        write_table(tmp_path / name, content, kind="evaluation")
    about = {
        "backbone": "resnet50.dino",
        "architecture": "resnet50",
        "input_size": 224,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    return {
        "model": model_section(about, "features", []),
        "how": {
            "state": "obs/upper/seed_0/global/sparsity_0.5",
            "batchnorm": "keep",
            "tuning": "on_upper/seed_0" if tuned else "",
            "finetuned": tuned,
            "criterion": {"criterion": "obs", "damping": 0.1},
            "updated": False,
            "settings": {"epochs": 3} if tuned else {},
        },
        "accuracies": accuracy_rows([tmp_path / "this.csv"], [tmp_path / "dense.csv"]),
        "made": {"git_commit": "abc", "versions": {"torch": "2"}, "inputs": {"results/a|b.csv": "f" * 64}},
        "packages": {"onnx": "1"},
        "upstream": {"checkpoint": {"name": "dino.pth", "sha256": "12"}, "weights": {}, "mask": {}},
        "sparsity": sparsity_section(STATE, Mask(MASK), FLOPS),
        "flops": flops_section(Mask(MASK), FLOPS),
        "bytes": bytes_section(STATE, Mask(MASK)),
        "checks": {
            "accuracy": {
                "task": "upper",
                "head": "zero_shot",
                "images": 50,
                "measured": 0.75,
                "evaluated": 0.75,
            },
            "onnx": {
                "max_abs_difference": 2e-6,
                "max_abs_output": 3.0,
                "tolerance": 3e-4,
                "images": 50,
                "same_class": 50,
            },
        },
        "semi_structured": {},
    }


def text(found: dict[str, Any], tmp_path: Path) -> str:
    write_text(found, tmp_path / "card.md")
    return (tmp_path / "card.md").read_text()


def test_sparsity_flops_and_bytes_by_hand(tmp_path: Path) -> None:
    found = card(tmp_path)
    assert found["flops"] == {"dense": 324, "sparse": 2 * 9 * 3 + 8 + 100, "attention": 100, "other": 0}
    sparsity = found["sparsity"]
    assert (sparsity["num_weights"], sparsity["num_removed"]) == (16, 9)
    assert (sparsity["of_prunable"], sparsity["of_all"]) == (9 / 16, 9 / 20)
    assert sparsity["layers"][0] == {
        "layer": "conv", "shape": [4, 3], "num_weights": 12, "num_removed": 9, "sparsity": 0.75, "collapsed": 0,
        "flops_dense": 216, "flops_sparse": 54,
    }  # fmt: skip
    assert found["bytes"]["dense"] == 80 and found["bytes"]["mask_and_values"] == 2 + 12 + 1 + 16 + 16
    shown = text(found, tmp_path)
    assert "| FLOPs of one image | 324 | 162 | 0.500 |" in shown
    assert "| `conv` | 4 × 3 | 9 | 0.750 | 216 | 54 |" in shown


def test_accuracies_of_this_model_and_of_the_dense_one(tmp_path: Path) -> None:
    found = card(tmp_path)
    assert found["accuracies"] == [
        {
            "task": "upper", "num_test": 50, "fit_split": "train", "zero_shot": 0.75, "probe": 0.875,
            "dense_zero_shot": 0.9375, "dense_probe": 0.9375,
        }
    ]  # fmt: skip
    assert "| upper | 50 | 0.938 | 0.750 | 0.938 | 0.875 |" in text(found, tmp_path)


def test_how_it_was_made(tmp_path: Path) -> None:
    shown = text(card(tmp_path, tuned=True), tmp_path)
    assert "| criterion | criterion obs, damping 0.1 |" in shown
    assert "| fine-tuning | on_upper/seed_0 (epochs 3) |" in shown
    assert "| pre-trained weights | name dino.pth, sha256 12 |" in shown
    assert "| `results/a\\|b.csv` | ffffffffffffffff |" in shown


@pytest.mark.parametrize("fit_split", ["train", "test"])
def test_heads_fitted_on_test_images_are_labelled(tmp_path: Path, fit_split: str) -> None:
    shown = text(card(tmp_path, fit_split=fit_split), tmp_path)
    assert ("were fitted on the test images themselves" in shown) == (fit_split == "test")


def test_the_same_card_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_card(card(tmp_path), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
