"""How a network reads images: resized and cropped once, when a task is prepared, then normalised in every batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self


@dataclass(frozen=True)
class Preprocessing:
    """The images that a backbone was trained on.

    Attributes:
        input_size: side of the square that the network reads, in pixels.
        crop: share of the resized short side that the centre crop keeps.
        interpolation: of the resizing: bilinear, bicubic, nearest or lanczos.
        mean: of red, green and blue, subtracted from pixel / 255.
        std: of red, green and blue; divides the difference.
    """

    input_size: int
    crop: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From a mapping with these keys, such as an artefact's metadata; other keys are ignored.

        Raises:
            KeyError: a key is missing.
        """
        known = {field.name: values[field.name] for field in fields(cls)}
        return cls(**{**known, "mean": tuple(known["mean"]), "std": tuple(known["std"])})

    @property
    def view(self) -> str:
        """What a task's pixels depend on, as paths write it: ``224_crop875_bicubic``.

        Size in pixels, crop in thousandths, interpolation. `obtransfer.data.view` resizes the short side to
        ⌊size · 1000 / crop⌋ pixels; of the thousandths that give timm's ⌊size / crop⌋, the nearest are taken.
        """
        return f"{self.input_size}_crop{_thousandths(self.input_size, self.crop)}_{self.interpolation}"


@cache
def _thousandths(size: int, crop: float) -> int:
    resized = int(size / crop)
    near = sorted(range(1, 2000), key=lambda number: (abs(number - 1000 * crop), number))
    return next((number for number in near if size * 1000 // number == resized), near[0])
