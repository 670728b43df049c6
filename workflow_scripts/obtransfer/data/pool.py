"""What a data set offers: images that are not decoded yet, with their labels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Pool:
    """Images that may go to the same splits.

    Attributes:
        images: paths below `root`, or uint8 [N, H, W] or [N, H, W, 3].
        labels: int64 [N], index in the data set's classes.
        root: folder of the paths.
    """

    images: Sequence[str] | np.ndarray
    labels: np.ndarray
    root: Path = Path()

    def name(self, position: int) -> str:
        """How an image is called in messages: without the root, which differs from machine to machine."""
        return f"image {position}" if isinstance(self.images, np.ndarray) else self.images[position]

    def content(self, position: int) -> bytes:
        """What makes the image the same as another one: the file's bytes, or the pixels.

        Raises:
            OSError: the file can't be read.
        """
        if isinstance(self.images, np.ndarray):
            return np.ascontiguousarray(self.images[position]).tobytes()
        return (self.root / self.images[position]).read_bytes()

    def decode(self, position: int, content: bytes) -> Image.Image:
        """The image, from what `content` gave; it may still fail to load, as Pillow's do."""
        if isinstance(self.images, np.ndarray):
            return Image.fromarray(self.images[position])
        return Image.open(io.BytesIO(content))


class DataSet(Protocol):
    """One kind of data set on disk. `settings`: the entry under `datasets` in the configuration, with an absolute root."""

    def classes(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of all classes; a class's place is its index.

        Raises:
            ObtransferError: the data set is not there.
        """

    def pools(self, settings: Mapping[str, Any], chosen: Sequence[int]) -> tuple[Pool, Pool | None]:
        """Images of the chosen classes that may be trained on, and the official test images, if there are any.

        Both in an order that depends on the files' names only.

        Raises:
            ObtransferError: something is missing.
        """
