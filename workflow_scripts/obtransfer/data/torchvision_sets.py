"""Data sets that torchvision reads: its classes know the files and check them. The pixels are decoded here."""

from __future__ import annotations

import os
import urllib.error
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from obtransfer.data.pool import DatasetReader, ImagePool
from obtransfer.errors import ObtransferError

Part = tuple[tuple[str, Any], ...]
Read = Callable[[Any], tuple[Any, Any]]
_BROKEN = (RuntimeError, OSError, ValueError, KeyError, EOFError)


@dataclass(frozen=True)
class TorchvisionSet(DatasetReader):
    """One class of `torchvision.datasets`.

    Attributes:
        name: of the class.
        num_classes: of the data set.
        train: its arguments, once for every part that may be trained on.
        test: its arguments for the official test part; None where all splits are dealt from `train`.
        read: gives paths (or pixels) and labels of an instance.
        names: of the classes, where the instance does not know them.
    """

    downloads: bool = field(default=True, init=False)
    name: str
    num_classes: int = field()
    train: tuple[Part, ...]
    test: Part | None
    read: Read
    names: tuple[str, ...] = ()

    def classes(self, root: Path) -> tuple[str, ...]:
        """torchvision's names."""
        return self.names or tuple(map(str, self._open(root, self.train[0]).classes))

    def pools(self, root: Path, chosen: Sequence[int]) -> tuple[ImagePool, ImagePool | None]:
        """Train images, with the validation images where there are some, and the official test images."""
        train = self._pool(root, self.train, chosen)
        return train, self._pool(root, [self.test], chosen) if self.test is not None else None

    def fetch(self, root: Path) -> None:
        """torchvision downloads what is not there yet."""
        root.mkdir(parents=True, exist_ok=True)
        for part in (*self.train, *([self.test] if self.test is not None else [])):
            try:
                _instance(self.name, root, part, download=True)
            except (*_BROKEN, urllib.error.URLError) as error:
                raise ObtransferError(
                    f"torchvision's {self.name} could not be downloaded into {root}: {error}; run the same command again, or "
                    "bring the files there in another way and leave download out"
                ) from error

    def _open(self, root: Path, part: Part) -> Any:
        try:
            return _cached(self.name, root, part)
        except _BROKEN as error:
            raise ObtransferError(
                f"torchvision's {self.name} does not find its whole data set in {root}: {error}; set the root to what "
                f"torchvision.datasets.{self.name} takes as root, or set download: true in the data set's entry"
            ) from error

    def _pool(self, root: Path, parts: Sequence[Part], chosen: Sequence[int]) -> ImagePool:
        read = [self.read(self._open(root, part)) for part in parts]
        labels = np.concatenate([np.asarray(labels, dtype=np.int64).reshape(-1) for _, labels in read])
        wanted = np.flatnonzero(np.isin(labels, chosen))
        if isinstance(read[0][0], np.ndarray):
            (pixels, _), *_ = read
            return ImagePool(pixels[wanted], labels[wanted])
        every = [path for paths, _ in read for path in paths]
        named = sorted((os.path.relpath(every[row], root), int(labels[row])) for row in wanted)
        return ImagePool(
            [name for name, _ in named], np.array([label for _, label in named], dtype=np.int64), root
        )


def _instance(name: str, root: Path, part: Part, *, download: bool) -> Any:
    from torchvision import datasets

    return getattr(datasets, name)(str(root), download=download, **dict(part))


@lru_cache(maxsize=4)
def _cached(name: str, root: Path, part: Part) -> Any:
    return _instance(name, root, part, download=False)


def _files(instance: Any) -> tuple[Any, Any]:
    return instance._image_files, instance._labels


def _pets(instance: Any) -> tuple[Any, Any]:
    return instance._images, instance._labels


def _samples(instance: Any) -> tuple[Any, Any]:
    samples = instance._samples if hasattr(instance, "_samples") else instance.samples
    return [path for path, _ in samples], [label for _, label in samples]


def _pixels(instance: Any) -> tuple[Any, Any]:
    return np.asarray(instance.data), instance.targets


def _channels_first(instance: Any) -> tuple[Any, Any]:
    return instance.data.transpose(0, 2, 3, 1), instance.labels


def _split(name: str) -> Part:
    return (("split", name),)


_TRAIN, _VAL, _TEST = _split("train"), _split("val"), _split("test")
_FOR_TRAINING, _FOR_TEST = (("train", True),), (("train", False),)
_DIGITS = tuple("0123456789")

DATASET = {
    "cifar10": TorchvisionSet("CIFAR10", 10, (_FOR_TRAINING,), _FOR_TEST, _pixels),
    "cifar100": TorchvisionSet("CIFAR100", 100, (_FOR_TRAINING,), _FOR_TEST, _pixels),
    "dtd": TorchvisionSet("DTD", 47, (_TRAIN, _VAL), _TEST, _files),
    "eurosat": TorchvisionSet("EuroSAT", 10, ((),), None, _samples),
    "gtsrb": TorchvisionSet(
        "GTSRB", 43, (_TRAIN,), _TEST, _samples, tuple(f"{sign:05d}" for sign in range(43))
    ),
    "svhn": TorchvisionSet("SVHN", 10, (_TRAIN,), _TEST, _channels_first, _DIGITS),
    "food101": TorchvisionSet("Food101", 101, (_TRAIN,), _TEST, _files),
    "pets": TorchvisionSet("OxfordIIITPet", 37, (_split("trainval"),), _TEST, _pets),
    "aircraft": TorchvisionSet("FGVCAircraft", 100, (_split("trainval"),), _TEST, _files),
    "flowers102": TorchvisionSet("Flowers102", 102, (_TRAIN, _VAL), _TEST, _files),
    "sun397": TorchvisionSet("SUN397", 397, ((),), None, _files),
    "mnist": TorchvisionSet("MNIST", 10, (_FOR_TRAINING,), _FOR_TEST, _pixels, _DIGITS),
}
