"""What a mask leaves."""

import numpy as np
from obtransfer.masks.statistics import collapsed_layers, count_weights, density_by_layer, layer_rows

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


def test_a_row_for_every_layer_in_order():
    assert layer_rows(MASK) == [
        {"layer": "full", "num_weights": 4, "num_removed": 0, "sparsity": 0.0, "collapsed": 0},
        {"layer": "quarter", "num_weights": 4, "num_removed": 3, "sparsity": 0.75, "collapsed": 0},
        {"layer": "gone", "num_weights": 3, "num_removed": 3, "sparsity": 1.0, "collapsed": 1},
    ]
