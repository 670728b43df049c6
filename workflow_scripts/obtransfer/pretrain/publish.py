"""The files that ship: fp16 weights, and a card that says how they were made and how good they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from obtransfer.artifacts import atomic_path
from obtransfer.models.build import build
from obtransfer.models.formats.mini import convert
from obtransfer.models.load import load_strictly
from obtransfer.pretrain.loop import PREPROCESSING, Spent
from obtransfer.pretrain.quality import IMAGES_PER_CLASS, pretraining_mean, ridge_accuracies
from obtransfer.pretrain.recipes import Recipe

VIEWS = (
    "The views of a self-supervised method are different renderings of the same glyph in the same font (another warp, "
    "size, position, colours, background, noise). They differ more than with the method's standard augmentation, which is a "
    "mild form of supervision."
)
HELD_OUT = (
    "Other renderings (disjoint random streams) of the same glyphs and fonts for the ten tasks of pre-training; hebrew, "
    "shapes and handwritten were never seen in any form."
)
OPTIMISERS = {
    False: "AdamW; linear warm-up, then a cosine to zero",
    True: "Muon for the backbone's linear layers, AdamW for the rest; linear warm-up, then a cosine to zero",
}


def publish(
    folder: Path, name: str, backbone: nn.Module, recipe: Recipe, spent: Spent, *, seed: int
) -> float:
    """Write `<name>.safetensors` and `<name>.json`.

    The accuracies are those of the written file, read back, not of the weights in memory.

    Returns:
        The mean ridge accuracy on the ten tasks of pre-training, in [0, 1].
    """
    path = folder / f"{name}.safetensors"
    state = {
        key: (value.to(torch.float16) if value.is_floating_point() else value).contiguous()
        for key, value in backbone.state_dict().items()
    }
    with atomic_path(path) as partial:
        save_file(state, partial, metadata={"format": "pt"})
        partial.chmod(0o644)
    accuracies = ridge_accuracies(published(path), PREPROCESSING)
    mean, (architecture, method) = pretraining_mean(accuracies), name.split(".")
    card = {
        "name": name,
        "architecture": architecture,
        "pretraining": method,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "mean": PREPROCESSING.mean,
        "std": PREPROCESSING.std,
        "input_size": PREPROCESSING.input_size,
        "data": "glyphs of ten tasks rendered from matplotlib's fonts (obtransfer.data.glyphs.PRETRAINING_TASKS)",
        "views": VIEWS if method != "supervised" else "one rendering",
        "versions": {package: version(package) for package in ("torch", "timm", "numpy", "matplotlib")},
        "recipe": asdict(recipe) | {"seed": seed, "optimiser": OPTIMISERS[recipe.muon]},
        "spent": {key: round(value, 1) for key, value in asdict(spent).items()},
        "ridge_accuracy": {key: round(value, 4) for key, value in accuracies.items()},
        "mean_ridge_accuracy_pretraining_tasks": round(mean, 4),
        "ridge_images": HELD_OUT,
        "ridge_images_per_class": IMAGES_PER_CLASS,
    }
    with atomic_path(folder / f"{name}.json") as partial:
        partial.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return mean


def published(path: Path) -> nn.Module:
    """The network of a written file, in evaluation mode."""
    model = build(path.name.split(".")[0])
    load_strictly(model, convert(load_file(path)), str(path))
    return model
