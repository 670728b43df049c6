"""How good a backbone's features are: ridge accuracy on every task's held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from obtransfer.data import glyphs
from obtransfer.data.pixels import to_batch
from obtransfer.data.splits import TaskImages, split_index
from obtransfer.heads.ridge import fit_ridge
from obtransfer.models.preprocessing import Preprocessing

IMAGES_PER_CLASS = {"train": 40, "test": 50}


def ridge_accuracies(model: nn.Module, preprocessing: Preprocessing, *, seed: int = 0) -> dict[str, float]:
    """Test accuracy in [0, 1] of a ridge head per task, fitted on the train split.

    Args:
        model: features [B, D]; its mode is the same afterwards.
        preprocessing: of the backbone, for the normalisation.
        seed: of the tasks' images.
    """
    was_training = model.training
    model.eval()
    accuracies = {name: _accuracy(model, images, preprocessing) for name, images in _tasks(seed).items()}
    model.train(was_training)
    return accuracies


def pretraining_mean(accuracies: Mapping[str, float]) -> float:
    """Mean over the ten tasks that pre-training saw (other images of them)."""
    return float(np.mean([accuracies[name] for name in glyphs.PRETRAINING_TASKS]))


@lru_cache(maxsize=1)
def _tasks(seed: int) -> dict[str, TaskImages]:
    from obtransfer.data import digits

    tasks = {
        name: glyphs.load(name, seed=seed, images_per_class=IMAGES_PER_CLASS) for name in glyphs.CHARACTERS
    }
    return tasks | {"handwritten": digits.load("handwritten", seed=seed, images_per_class=IMAGES_PER_CLASS)}


@torch.no_grad()
def _features(model: nn.Module, pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    parts = [model(to_batch(pixels[i : i + 256], preprocessing)).numpy() for i in range(0, len(pixels), 256)]
    return np.concatenate(parts)


def _accuracy(model: nn.Module, images: TaskImages, preprocessing: Preprocessing) -> float:
    fitted, scored = (images.split == split_index(name) for name in ("train", "test"))
    features = _features(model, images.pixels, preprocessing)
    head = fit_ridge(features[fitted], images.labels[fitted], len(images.classes))
    predicted = head.logits(features[scored]).argmax(axis=1)
    return float((predicted == images.labels[scored]).mean())
