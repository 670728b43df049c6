"""Data sets that torchvision reads: its classes know the files and check them; the pixels are decoded here."""

from __future__ import annotations

import os
import urllib.error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from obtransfer.data.pool import Pool
from obtransfer.errors import ObtransferError

Part = tuple[tuple[str, Any], ...]
Read = Callable[[Any], tuple[Any, Any]]
_BROKEN = (RuntimeError, OSError, ValueError, KeyError, EOFError)


@dataclass(frozen=True)
class TorchvisionSet:
    """One class of `torchvision.datasets`.

    Attributes:
        name: of the class.
        train: its arguments, once for every part that may be trained on.
        test: its arguments for the official test part; None where all splits are dealt from `train`.
        read: gives paths (or pixels) and labels of an instance.
        names: of the classes, where the instance does not know them.
    """

    name: str
    train: tuple[Part, ...]
    test: Part | None
    read: Read
    names: tuple[str, ...] = ()

    def classes(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """As torchvision calls them."""
        return self.names or tuple(map(str, self._open(settings, self.train[0]).classes))

    def pools(self, settings: Mapping[str, Any], chosen: Sequence[int]) -> tuple[Pool, Pool | None]:
        """Train images (with validation images, where they are apart) and the official test images."""
        train = self._pool(settings, self.train, chosen)
        return train, self._pool(settings, [self.test], chosen) if self.test is not None else None

    def fetch(self, settings: Mapping[str, Any]) -> None:
        """Have torchvision download what is not there yet.

        Raises:
            ObtransferError: the network failed, or what came has another checksum.
        """
        Path(settings["root"]).mkdir(parents=True, exist_ok=True)
        for part in (*self.train, *([self.test] if self.test is not None else [])):
            try:
                _instance(self.name, settings["root"], part, download=True)
            except (*_BROKEN, urllib.error.URLError) as error:
                raise ObtransferError(
                    f"torchvision's {self.name} could not be downloaded into {settings['root']}: {error}. Run the same again, "
                    "or bring the files there in another way and leave download out"
                ) from error

    def _open(self, settings: Mapping[str, Any], part: Part) -> Any:
        try:
            return _cached(self.name, settings["root"], part)
        except _BROKEN as error:
            raise ObtransferError(
                f"torchvision's {self.name} does not find its whole data set in {settings['root']}: {error}. The root must be "
                f"what torchvision.datasets.{self.name} takes as root; or set download: true in the data set's entry"
            ) from error

    def _pool(self, settings: Mapping[str, Any], parts: Sequence[Part], chosen: Sequence[int]) -> Pool:
        read = [self.read(self._open(settings, part)) for part in parts]
        labels = np.concatenate([np.asarray(labels, dtype=np.int64).reshape(-1) for _, labels in read])
        wanted = np.flatnonzero(np.isin(labels, chosen))
        if isinstance(read[0][0], np.ndarray):
            (pixels, _), *_ = read
            return Pool(pixels[wanted], labels[wanted])
        root = Path(settings["root"])
        every = [path for paths, _ in read for path in paths]
        named = sorted((os.path.relpath(every[row], root), int(labels[row])) for row in wanted)
        return Pool(
            [name for name, _ in named], np.array([label for _, label in named], dtype=np.int64), root
        )


def _instance(name: str, root: str, part: Part, *, download: bool) -> Any:
    from torchvision import datasets

    return getattr(datasets, name)(root, download=download, **dict(part))


@lru_cache(maxsize=4)
def _cached(name: str, root: str, part: Part) -> Any:
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

CIFAR10 = TorchvisionSet("CIFAR10", (_FOR_TRAINING,), _FOR_TEST, _pixels)
CIFAR100 = TorchvisionSet("CIFAR100", (_FOR_TRAINING,), _FOR_TEST, _pixels)
MNIST = TorchvisionSet("MNIST", (_FOR_TRAINING,), _FOR_TEST, _pixels, _DIGITS)
SVHN = TorchvisionSet("SVHN", (_TRAIN,), _TEST, _channels_first, _DIGITS)
DTD = TorchvisionSet("DTD", (_TRAIN, _VAL), _TEST, _files)
EUROSAT = TorchvisionSet("EuroSAT", ((),), None, _samples)
GTSRB = TorchvisionSet("GTSRB", (_TRAIN,), _TEST, _samples, tuple(f"{number:05d}" for number in range(43)))
FOOD101 = TorchvisionSet("Food101", (_TRAIN,), _TEST, _files)
PETS = TorchvisionSet("OxfordIIITPet", (_split("trainval"),), _TEST, _pets)
AIRCRAFT = TorchvisionSet("FGVCAircraft", (_split("trainval"),), _TEST, _files)
FLOWERS102 = TorchvisionSet("Flowers102", (_TRAIN, _VAL), _TEST, _files)
SUN397 = TorchvisionSet("SUN397", ((),), None, _files)
