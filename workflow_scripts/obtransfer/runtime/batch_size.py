"""How many images go through a model at once, if the requested number does not fit in memory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from obtransfer.errors import ObtransferError

NOTES = "OBTRANSFER_BATCH_SIZES"
"""Environment variable: the JSON file in which sizes that fit are noted for the next run; unset, none are noted."""


class BatchSize:
    """A number of images that is halved when they do not fit. Later batches, and the next run, use the smaller one.

    This works on GPUs only: a process that runs out of the CPU's memory is killed.

    Attributes:
        value: images at once.
    """

    def __init__(self, asked: int, what: str) -> None:
        """`asked`: images at once, if they fit; `what`: what is computed, for messages and notes."""
        self.what = what
        self.key = f"{what}, {asked} asked, {_device()}"
        self.value = min(asked, _notes().get(self.key, asked))

    def halve(self, tried: int) -> None:
        """After `tried` images, possibly fewer than `value`, did not fit.

        Raises:
            ObtransferError: not even one image fits.
        """
        if tried <= 1:
            raise ObtransferError(
                f"{self.what}: not even one image fits in the device's memory; use a device with more, or smaller images"
            )
        self.value = tried // 2
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _note(self.key, self.value)
        print(
            f"{self.what}: {tried} images at once do not fit in memory, going on with {self.value}. The result is the "
            f"same; a batch_size of {self.value} saves the attempt",
            file=sys.stderr,
            flush=True,
        )


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _notes() -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(Path(os.environ[NOTES]).read_text(encoding="utf-8"))
    except (KeyError, OSError, ValueError):
        return {}
    return found


def _note(key: str, value: int) -> None:
    """If two processes note something at the same time, one note is lost, and that size is found again."""
    if NOTES in os.environ:
        from obtransfer.artifacts import atomic_path

        with atomic_path(Path(os.environ[NOTES])) as partial:
            partial.write_text(json.dumps(_notes() | {key: value}, indent=1) + "\n", encoding="utf-8")
