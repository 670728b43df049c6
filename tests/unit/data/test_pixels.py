"""Batches: normalisation, order, and selecting a split."""

import threading

import numpy as np
import pytest
import torch
from obtransfer.artifacts import Artifact
from obtransfer.data.pixels import batches, select, to_batch
from obtransfer.errors import ObtransferError
from obtransfer.models.preprocessing import Preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, size=(7, 4, 5, 3), dtype=np.uint8)
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
PREPROCESSING = Preprocessing(2, 1.0, "bilinear", MEAN, STD)


def test_to_batch_is_the_formula_channels_first() -> None:
    batch = to_batch(PIXELS, PREPROCESSING)
    expected = ((PIXELS / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    assert tuple(batch.shape) == (7, 3, 4, 5)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(batch.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_to_batch_takes_read_only_pixels_and_changes_none() -> None:
    pixels = PIXELS.copy()
    pixels.setflags(write=False)
    to_batch(pixels, PREPROCESSING).zero_()
    np.testing.assert_array_equal(pixels, PIXELS)


def test_to_batch_refuses_what_is_not_an_image() -> None:
    with pytest.raises(ObtransferError, match=r"float32 \[7, 4, 5, 3\]"):
        to_batch(PIXELS.astype(np.float32), PREPROCESSING)
    with pytest.raises(ObtransferError, match=r"\[4, 5, 3\]"):
        to_batch(PIXELS[0], PREPROCESSING)


@pytest.mark.parametrize("ahead", [None, False, True])
def test_batches_cover_everything_in_order(ahead: bool | None) -> None:
    parts = list(batches(PIXELS, PREPROCESSING, batch_size=3, ahead=ahead))
    assert [len(part) for part in parts] == [3, 3, 1]
    whole = to_batch(PIXELS, PREPROCESSING).numpy()
    np.testing.assert_array_equal(np.concatenate([part.numpy() for part in parts]), whole)
    assert list(batches(PIXELS[:0], PREPROCESSING, batch_size=3, ahead=ahead)) == []


def test_a_reader_that_fails_is_told_and_one_that_is_left_ends() -> None:
    with pytest.raises(ObtransferError, match="float32"):
        list(batches(PIXELS.astype(np.float32), PREPROCESSING, batch_size=3, ahead=True))
    before = threading.active_count()
    started = batches(PIXELS, PREPROCESSING, batch_size=1, ahead=True)
    next(started)
    started.close()
    assert threading.active_count() == before


def test_select_takes_one_split_and_refuses_an_empty_one() -> None:
    tensors = {
        "pixels": PIXELS,
        "labels": np.arange(7),
        "split": np.array([0, 3, 0, 3, 3, 0, 1], dtype=np.uint8),
    }
    artifact = Artifact(tensors, {"task": "upper"}, "")
    pixels, labels = select(artifact, "test")
    np.testing.assert_array_equal(labels, [1, 3, 4])
    np.testing.assert_array_equal(pixels, PIXELS[[1, 3, 4]])
    with pytest.raises(
        ObtransferError, match=r"images in the split 'validation' of the task 'upper'; got .*'test': 3"
    ):
        select(artifact, "validation")
    with pytest.raises(ObtransferError, match=r"train, calibration, validation, test; got 'val'"):
        select(artifact, "val")
