"""One bit per weight, there and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obtransfer.errors import ObtransferError
from obtransfer.masks.packing import pack, unpack


def test_by_hand():
    packed = pack({"layer": np.array([[True, False, False], [False, False, False], [False, True, True]])})
    assert packed["layer"].tolist() == [0b10000001, 0b10000000] and packed["layer"].dtype == np.uint8


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=4), st.integers(0, 99))
def test_round_trip_of_any_size(shapes, seed):
    generator = np.random.default_rng(seed)
    mask = {f"layer{i}": generator.random(shape) < 0.5 for i, shape in enumerate(shapes)}
    again = unpack(pack(mask), {name: list(layer.shape) for name, layer in mask.items()})
    assert list(again) == list(mask)
    for name, layer in mask.items():
        np.testing.assert_array_equal(again[name], layer)
        assert again[name].dtype == np.bool_


def test_a_transposed_mask_is_packed_row_major():
    mask = np.arange(6).reshape(2, 3).T % 2 == 0
    np.testing.assert_array_equal(unpack(pack({"layer": mask}), {"layer": (3, 2)})["layer"], mask)


@pytest.mark.parametrize(
    ("packed", "shapes", "message"),
    [
        ({"a": np.zeros(1, np.uint8)}, {"b": [8]}, "same layers.*'a', 'b'"),
        (
            {"a": np.zeros(2, np.uint8)},
            {"a": [8]},
            r"a must be uint8 \[1\] for 8 weights of shape \[8\].*uint8 \[2\]",
        ),
        ({"a": np.zeros(1, np.int64)}, {"a": [8]}, "got int64"),
        ({"a": np.array([0xFF], np.uint8)}, {"a": [7]}, "a must have no bits beyond its 7 weights"),
    ],
)
def test_what_does_not_fit_is_refused(packed, shapes, message):
    with pytest.raises(ObtransferError, match=message):
        unpack(packed, shapes)


def test_only_bool_is_packed():
    with pytest.raises(ObtransferError, match="must be bool; got layer is float64"):
        pack({"layer": np.ones(3)})
