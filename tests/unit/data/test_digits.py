"""Handwritten digits: the true images, split without overlap."""

import numpy as np
import pytest
from obtransfer.data import digits
from obtransfer.data.splits import SPLITS
from obtransfer.errors import ObtransferError

COUNTS = {"train": 40, "calibration": 20, "validation": 10, "test": 50}


FIRST_IMAGE = """
     0  0  5 13  9  1  0  0
     0  0 13 15 10 15  5  0
     0  3 15  2  0 11  8  0
     0  4 12  0  0  8  8  0
     0  5  8  0  0  9  8  0
     0  4 11  0  1 12  7  0
     0  2 14  5 10 12  0  0
     0  0  6 13 10  0  0  0
"""  # a zero, as scikit-learn's documentation shows it


def test_images_and_counts_are_those_documented() -> None:
    pixels, labels = digits._unique_digits()
    np.testing.assert_array_equal(pixels[0], np.array(FIRST_IMAGE.split(), dtype=int).reshape(8, 8))
    assert labels[0] == 0
    np.testing.assert_array_equal(np.bincount(labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


@pytest.mark.slow
def test_images_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, labels = digits._unique_digits()
    truth = bunch.images.astype(np.uint8)
    _, first = np.unique(truth.reshape(len(truth), -1), axis=0, return_index=True)
    np.testing.assert_array_equal(pixels, truth[np.sort(first)])
    np.testing.assert_array_equal(labels, bunch.target[np.sort(first)])


def test_splits_are_balanced_and_share_no_image() -> None:
    images = digits.load("handwritten", seed=0, images_per_class=COUNTS)
    assert images.pixels.shape == (1200, 32, 32, 3)
    assert (images.pixels.dtype, images.labels.dtype, images.split.dtype) == (np.uint8, np.int64, np.uint8)
    assert len({image.tobytes() for image in images.pixels}) == 1200
    for index, name in enumerate(SPLITS):
        np.testing.assert_array_equal(np.bincount(images.labels[images.split == index]), [COUNTS[name]] * 10)


def test_deterministic_by_seed() -> None:
    first, second, other = (
        digits.load("handwritten", seed=s, images_per_class={"test": 5}) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_enlargement_is_bilinear_about_pixel_centres() -> None:
    image = np.zeros((1, 8, 8), dtype=np.uint8)
    image[0, :, 4:] = 16
    large = digits._enlarge(image)[0, 0, :, 0]
    np.testing.assert_array_equal(large[:14], 0)
    np.testing.assert_array_equal(large[14:18], [32, 96, 159, 223])
    np.testing.assert_array_equal(large[18:], 255)


def test_too_many_images_and_a_wrong_task_are_named() -> None:
    with pytest.raises(ObtransferError, match=r"180 images per class.*got 174 in the smallest class"):
        digits.load("handwritten", seed=0, images_per_class={"train": 100, "test": 80})
    with pytest.raises(ObtransferError, match=r"needed the task 'handwritten'; got 'mnist'"):
        digits.load("mnist", seed=0, images_per_class=COUNTS)
