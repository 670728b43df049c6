"""How many images go through a model at once, where the memory does not hold as many as were asked for."""

from __future__ import annotations

import sys

from obtransfer.errors import ObtransferError


class BatchSize:
    """A number of images that is halved when they do not fit; what follows uses the smaller one.

    Only a GPU can be asked again after it has run out of memory; on the CPU the process ends.

    Attributes:
        value: images at once.
    """

    def __init__(self, value: int) -> None:
        self.value = value

    def halve(self, tried: int, what: str) -> None:
        """After `tried` images did not fit.

        Args:
            tried: images of the batch that failed, possibly fewer than `value`.
            what: what was computed, for the message.

        Raises:
            ObtransferError: not even one image fits.
        """
        if tried <= 1:
            raise ObtransferError(
                f"{what}: not even one image fits the device's memory; use a device with more, or smaller images"
            )
        self.value = tried // 2
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(
            f"{what}: {tried} images at once do not fit the memory, going on with {self.value}. The result is the same; "
            f"a batch_size of {self.value} saves the attempt",
            file=sys.stderr,
            flush=True,
        )
