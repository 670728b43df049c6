"""A model that is not what its card says is not handed out."""

import numpy as np
import pytest
from obtransfer.dag.paths import Form
from obtransfer.errors import ObtransferError
from obtransfer.export.card import accuracy_of
from obtransfer.export.checks import MAX_IMAGES, check_accuracy, check_removed, compare, same_choices, spread
from obtransfer.export.finish import Finished, Request
from obtransfer.heads.ridge import RidgeHead
from obtransfer.masks.mask import Mask
from obtransfer.models.preprocessing import Preprocessing
from torch import nn

HEAD = RidgeHead(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.5, 0.0]))
PROBE = Request(Form("probe", "upper"), alpha=1.0, batch_size=8, threads=1)


def measured(accuracy: float) -> Finished:
    """Fifty images of the task upper, scored so."""
    preprocessing = Preprocessing(8, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    pixels = np.zeros((50, 8, 8, 3), dtype=np.uint8)
    return Finished(nn.Identity(), preprocessing, Mask({}), HEAD, "upper", pixels, accuracy)


def test_a_removed_weight_that_is_not_zero_is_named() -> None:
    mask = Mask({"a": np.array([True, False]), "b": np.array([False, False])})
    check_removed({"a": np.array([0.0, 0.0]), "b": np.zeros(2)}, mask)
    with pytest.raises(ObtransferError, match=r"not in b: 2; use weights and mask of the same model"):
        check_removed({"a": np.array([3.0, 0.0]), "b": np.ones(2)}, mask)


@pytest.mark.parametrize(
    ("accuracy", "right"), [(0.5, True), (0.54, True), (0.46, True), (0.56, False), (0.1, False)]
)
def test_two_images_of_fifty_may_differ_from_the_evaluation(accuracy: float, right: bool) -> None:
    rows = [{"task": "upper", "num_test": 50, "probe": 0.5, "zero_shot": 0.9}]
    if right:
        assert check_accuracy(measured(accuracy), rows, PROBE) == {
            "task": "upper", "head": "probe", "images": 50, "measured": accuracy, "evaluated": 0.5
        }  # fmt: skip
    else:
        with pytest.raises(
            ObtransferError, match=r"on 50 test images, 0.5000; got .*these are not the weights"
        ):
            check_accuracy(measured(accuracy), rows, PROBE)


def test_a_task_that_was_not_evaluated_is_not_compared() -> None:
    rows = [{"task": "lower", "num_test": 50, "probe": 0.25}]
    assert accuracy_of(rows, "lower", "probe") == 0.25
    assert accuracy_of(rows, "upper", "probe") is None
    assert check_accuracy(measured(0.0), rows, PROBE)["evaluated"] is None


def test_images_are_spread_over_the_whole_split() -> None:
    pixels = (
        np.zeros((1000, 1, 1, 3), dtype=np.uint8)
        + (np.arange(1000) // 4).astype(np.uint8)[:, None, None, None]
    )
    chosen = spread(pixels)[:, 0, 0, 0]
    assert len(chosen) == MAX_IMAGES and chosen[0] == 0 and chosen[-1] == 249 and (np.diff(chosen) >= 3).all()
    assert len(spread(pixels[:10])) == 10


def test_choices_are_those_of_the_head_where_the_model_gives_features() -> None:
    left, right = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.9, 1.0]])
    assert same_choices(left, right, None) == 2
    assert same_choices(left, right, HEAD) == 1


def test_differences_are_measured_in_units_of_the_largest_output_or_one() -> None:
    reference = np.array([[1.0, -50.0]], dtype=np.float32)
    near = reference + np.array([[0.004, 0.0]], dtype=np.float32)
    found = compare(near, reference)
    assert found["max_abs_difference"] == pytest.approx(0.004, rel=1e-4)
    assert found["max_abs_output"] == 50 and found["tolerance"] == pytest.approx(0.005)
    assert compare(reference / 1e3, reference / 1e3)["tolerance"] == 1e-4


@pytest.mark.parametrize("wrong", [0.006, np.nan, np.inf])
def test_a_difference_beyond_the_tolerance_is_refused(wrong: float) -> None:
    reference = np.array([[1.0, -50.0]], dtype=np.float32)
    with pytest.raises(ObtransferError, match="needs the outputs of PyTorch"):
        compare(reference + np.float32(wrong), reference)
