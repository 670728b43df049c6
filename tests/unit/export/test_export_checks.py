"""A model that is not what its card says is not handed out."""

import numpy as np
import pytest
from obtransfer.errors import ObtransferError
from obtransfer.export.accuracies import accuracy_of
from obtransfer.export.checks import MAX_IMAGES, check_accuracy, check_removed, same_choices, spread
from obtransfer.heads.ridge import RidgeHead


def test_a_removed_weight_that_is_not_zero_is_named() -> None:
    mask = {"a": np.array([True, False]), "b": np.array([False, False])}
    check_removed({"a": np.array([0.0, 0.0]), "b": np.zeros(2)}, mask)
    with pytest.raises(ObtransferError, match=r"not in b: 2: are weights and mask"):
        check_removed({"a": np.array([3.0, 0.0]), "b": np.ones(2)}, mask)


@pytest.mark.parametrize(
    ("measured", "right"), [(0.5, True), (0.54, True), (0.46, True), (0.56, False), (0.1, False)]
)
def test_two_images_of_fifty_may_differ_from_the_evaluation(measured: float, right: bool) -> None:
    if right:
        check_accuracy(measured, 0.5, 50)
    else:
        with pytest.raises(ObtransferError, match=r"the evaluation's is 0.5000; these are not the weights"):
            check_accuracy(measured, 0.5, 50)


def test_a_task_that_was_not_evaluated_is_not_compared() -> None:
    rows = [{"task": "upper", "probe": 0.25}]
    assert accuracy_of(rows, "upper", "probe") == 0.25
    assert accuracy_of(rows, "lower", "probe") is None
    check_accuracy(0.0, None, 50)


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
    head = RidgeHead(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.5, 0.0]))
    assert same_choices(left, right, head) == 1
