"""From stored pixels to what a network reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from obtransfer.data.splits import SPLITS, split_index
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    import torch

    from obtransfer.artifacts import Artifact


def to_batch(
    pixels: np.ndarray, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Normalised images: (pixels / 255 − mean) / std, channels first.

    The pixels travel to the device as bytes and are converted there.

    Args:
        pixels: uint8 [B, H, W, 3], not changed.
        mean: one number per channel, in [0, 1].
        std: one number per channel, in [0, 1].
        device: where the batch goes.

    Returns:
        float32 [B, 3, H, W], channels last in memory, as convolutions like it on the CPU.

    Raises:
        ObtransferError: pixels of another type or shape.
    """
    import torch

    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ObtransferError(
            f"pixels must be uint8 [B, H, W, 3], but are {pixels.dtype} {list(pixels.shape)}"
        )
    writable = pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy()
    images = torch.from_numpy(writable).to(device).to(torch.float32)
    centre, spread = (torch.tensor(numbers, dtype=torch.float32, device=device) for numbers in (mean, std))
    return images.div_(255).sub_(centre).div_(spread).permute(0, 3, 1, 2)


def select(artifact: Artifact, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of one split of a "task" artefact.

    Args:
        artifact: tensors pixels, labels, split.
        split: name in `SPLITS`.

    Returns:
        pixels uint8 [N, H, W, 3] and labels int64 [N], in stored order.

    Raises:
        ObtransferError: no such split, or it is empty.
    """
    chosen = artifact.tensors["split"] == split_index(split)
    if not chosen.any():
        counts = {name: int((artifact.tensors["split"] == i).sum()) for i, name in enumerate(SPLITS)}
        raise ObtransferError(
            f"split {split!r} of task {artifact.metadata.get('task')!r} has no images (images per split: {counts}): "
            f"ask for some in the configuration's images per class"
        )
    return artifact.tensors["pixels"][chosen], artifact.tensors["labels"][chosen]


def batches(
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches (x float32 [b, 3, H, W], y int64 [b]) in stored order; the last may be smaller."""
    import torch

    for start in range(0, len(pixels), batch_size):
        chosen = slice(start, start + batch_size)
        targets = torch.from_numpy(np.array(labels[chosen], dtype=np.int64)).to(device)
        yield to_batch(pixels[chosen], mean, std, device), targets
