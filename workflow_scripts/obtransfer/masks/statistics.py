"""What a mask leaves, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def layer_rows(mask: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The table that goes with a mask, one row per layer in the mask's order, which is the network's.

    Columns: layer, num_weights, num_removed, sparsity (removed fraction), collapsed (1 with nothing left,
    else 0).
    """
    rows = []
    for name, layer in mask.items():
        removed = layer.size - int(np.count_nonzero(layer))
        rows.append(
            {
                "layer": name,
                "num_weights": layer.size,
                "num_removed": removed,
                "sparsity": removed / layer.size,
                "collapsed": int(removed == layer.size),
            }
        )
    return rows
