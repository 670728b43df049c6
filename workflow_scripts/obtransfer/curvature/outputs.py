"""The outputs that an estimator reads, and the batches that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from obtransfer.curvature.losses import Loss
from obtransfer.errors import ObtransferError


@dataclass(frozen=True)
class Outputs:
    """The model's outputs for one batch.

    Args:
        logits: f(x) [B, K].
        labels: [B], unchecked; the loss checks them where they are read.
        loss: ℓ(f, y).
        indices: which examples these are, [B] int64: a draw depends on the seed and the index alone.
    """

    logits: Tensor
    labels: Tensor
    loss: Loss
    indices: Tensor


class Batch(NamedTuple):
    """Some examples, at least one."""

    images: Tensor
    labels: Tensor
    indices: Tensor


def numbered(batches: Iterable[Sequence[Tensor]]) -> Iterator[Batch]:
    """The batches that are not empty, with an index for every example.

    Args:
        batches: (images [B, ...], labels [B]), whose examples are counted from 0, or (images, labels, indices [B],
            integers).

    Raises:
        ObtransferError: another number of tensors, or indices of another shape or type.
    """
    position = 0
    for batch in batches:
        if not 2 <= len(batch) <= 3:
            raise ObtransferError(
                f"curvature needs batches (images, labels) or (images, labels, indices); got {len(batch)} tensors"
            )
        images, labels = batch[:2]
        size = len(images)
        indices = batch[2] if len(batch) == 3 else torch.arange(position, position + size)
        if indices.shape != (size,) or indices.is_floating_point() or indices.is_complex():
            raise ObtransferError(
                f"curvature needs one integer index per example, shape ({size},); "
                f"got shape {tuple(indices.shape)} of {indices.dtype}"
            )
        position += size
        if size:
            yield Batch(images, labels, indices)
