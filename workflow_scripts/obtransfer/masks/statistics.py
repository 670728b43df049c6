"""What a mask leaves, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def density_by_layer(mask: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The fraction of weights kept in every layer, in [0, 1]."""
    return {name: int(np.count_nonzero(layer)) / layer.size for name, layer in mask.items()}


def collapsed_layers(mask: Mapping[str, np.ndarray]) -> list[str]:
    """Layers with nothing left: they pass on nothing of their input, unless a skip goes round them."""
    return [name for name, layer in mask.items() if not layer.any()]


def count_weights(mask: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """The number of prunable weights, and how many of them are removed."""
    num_weights = sum(layer.size for layer in mask.values())
    return num_weights, num_weights - sum(int(np.count_nonzero(layer)) for layer in mask.values())
