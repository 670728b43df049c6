"""What a mask leaves, and the file it goes through."""

from pathlib import Path

import numpy as np
import pytest
from obtransfer.artifacts import read_tensors, write_tensors
from obtransfer.errors import ObtransferError
from obtransfer.masks.mask import Mask

MASK = Mask(
    {
        "full": np.ones((2, 2), dtype=bool),
        "quarter": np.array([[True, False], [False, False]]),
        "gone": np.zeros(3, dtype=bool),
    }
)


def test_density() -> None:
    assert MASK.density_by_layer() == {"full": 1.0, "quarter": 0.25, "gone": 0.0}
    assert MASK.density == 5 / 11


def test_collapsed_layers_are_named() -> None:
    assert MASK.collapsed_layers() == ["gone"]
    assert Mask({"full": MASK.kept["full"]}).collapsed_layers() == []


def test_counts() -> None:
    assert (MASK.num_weights, MASK.num_removed) == (11, 6)


def test_a_row_for_every_layer_in_order() -> None:
    assert MASK.layer_rows() == [
        {"layer": "full", "num_weights": 4, "num_removed": 0, "sparsity": 0.0, "collapsed": 0},
        {"layer": "quarter", "num_weights": 4, "num_removed": 3, "sparsity": 0.75, "collapsed": 0},
        {"layer": "gone", "num_weights": 3, "num_removed": 3, "sparsity": 1.0, "collapsed": 1},
    ]


@pytest.mark.parametrize("updated", [{}, {"quarter": np.array([[7.0, 0.0], [0.0, 0.0]], dtype=np.float32)}])
def test_a_file_gives_the_mask_back(tmp_path: Path, updated: dict[str, np.ndarray]) -> None:
    path = tmp_path / "mask.safetensors"
    mask = Mask(MASK.kept, updated)
    write_tensors(path, mask.tensors(), kind="mask", metadata={"shapes": mask.shapes()})
    found = Mask.of(read_tensors(path, kind="mask"))
    for arrays, expected in ((found.kept, mask.kept), (found.updated, updated)):
        assert list(arrays) == sorted(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype


def test_a_file_with_other_shapes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.safetensors"
    write_tensors(path, MASK.tensors(), kind="mask", metadata={"shapes": MASK.shapes() | {"gone": [30]}})
    with pytest.raises(ObtransferError, match=r"packed mask of gone must be uint8 \[4\]"):
        Mask.of(read_tensors(path, kind="mask"))
