"""What a data set offers: images that are not decoded yet, with their labels."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ImagePool:
    """Images that may go to the same splits.

    Attributes:
        images: paths below `root`, or uint8 [N, H, W] or [N, H, W, 3].
        labels: int64 [N], index in the data set's classes.
        root: folder of the paths.
        left_out: why files are not among the images, to how many.
    """

    images: Sequence[str] | np.ndarray
    labels: np.ndarray
    root: Path = Path()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def name(self, position: int) -> str:
        """What messages call an image: its path below the root, since roots differ between machines."""
        return f"image {position}" if isinstance(self.images, np.ndarray) else self.images[position]

    def content(self, position: int) -> bytes:
        """The file's bytes, or the pixels: images with the same content are the same.

        Raises:
            OSError: the file can't be read.
        """
        if isinstance(self.images, np.ndarray):
            return np.ascontiguousarray(self.images[position]).tobytes()
        return (self.root / self.images[position]).read_bytes()

    def decode(self, position: int, content: bytes) -> Image.Image:
        """The image that `content` returned the bytes of. Pillow may still fail to load it."""
        if isinstance(self.images, np.ndarray):
            return Image.fromarray(self.images[position])
        return Image.open(io.BytesIO(content))


class DatasetReader(ABC):
    """One kind of data set on disk. The file that declares it ends with ``DATASET = ...``, an instance.

    Attributes:
        num_classes: where the kind fixes it.
        downloads: whether `fetch` can bring what is missing.
    """

    num_classes: int | None = None
    downloads: bool = False

    @abstractmethod
    def classes(self, root: Path) -> tuple[str, ...]:
        """Names of all classes; a class's place is its index.

        Args:
            root: the data set's folder, absolute.

        Raises:
            ObtransferError: the data set is not there.
        """

    @abstractmethod
    def pools(self, root: Path, chosen: Sequence[int]) -> tuple[ImagePool, ImagePool | None]:
        """Images of the chosen classes that may be trained on, and the official test images, if there are any.

        The order of both depends on the files' names only.

        Raises:
            ObtransferError: something is missing.
        """

    def fetch(self, root: Path) -> None:
        """Download into `root` what is not there yet; the kinds with `downloads` do.

        Raises:
            ObtransferError: the network failed, or the files have another checksum.
        """
        raise NotImplementedError(f"{type(self).__name__} downloads nothing")
