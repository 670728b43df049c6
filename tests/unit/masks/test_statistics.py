"""What a mask leaves."""

import numpy as np
from obtransfer.masks.statistics import collapsed_layers, count_weights, density_by_layer

MASK = {
    "full": np.ones((2, 2), dtype=bool),
    "quarter": np.array([[True, False], [False, False]]),
    "gone": np.zeros(3, dtype=bool),
}


def test_density_by_layer():
    assert density_by_layer(MASK) == {"full": 1.0, "quarter": 0.25, "gone": 0.0}


def test_collapsed_layers_are_named():
    assert collapsed_layers(MASK) == ["gone"]
    assert collapsed_layers({"full": MASK["full"]}) == []


def test_counts():
    assert count_weights(MASK) == (11, 6)
