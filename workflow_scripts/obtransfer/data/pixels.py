"""From stored pixels to what a network reads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from obtransfer.data.splits import SPLITS, split_index
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    import torch

    from obtransfer.artifacts import Artifact
    from obtransfer.models.preprocessing import Preprocessing


def to_batch(
    pixels: np.ndarray, preprocessing: Preprocessing, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Normalised images: (pixels / 255 − mean) / std, channels first.

    The pixels travel to the device as bytes and are converted there.

    Args:
        pixels: uint8 [B, H, W, 3], not changed.
        preprocessing: of the backbone; only mean and std are read.
        device: where the batch goes.

    Returns:
        float32 [B, 3, H, W], channels last in memory, which is faster for convolutions on the CPU.

    Raises:
        ObtransferError: pixels of another type or shape.
    """
    return _normalise(_as_bytes(pixels).to(device), preprocessing)


def batches(
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    ahead: bool | None = None,
) -> Iterator[torch.Tensor]:
    """Batches as `to_batch` makes them, in stored order; the last may be smaller.

    Args:
        pixels: uint8 [N, H, W, 3], may be mapped from a file.
        preprocessing: as for `to_batch`.
        batch_size: images a batch.
        device: where the batches go.
        ahead: whether a thread reads (and, for a GPU, pins) the next batch while this one is used; None: for GPUs only.
    """
    import torch

    parts = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
    on_gpu = torch.device(device).type == "cuda"
    if not (on_gpu if ahead is None else ahead):
        yield from (to_batch(part, preprocessing, device) for part in parts)
        return

    def read(part: np.ndarray) -> torch.Tensor:
        return _as_bytes(part).pin_memory() if on_gpu else _as_bytes(part)

    with ThreadPoolExecutor(1) as pool:
        following = [pool.submit(read, part) for part in parts[:1]]
        for part in [*parts[1:], None][: len(parts)]:
            present = following.pop().result()
            if part is not None:
                following.append(pool.submit(read, part))
            yield _normalise(present.to(device, non_blocking=True), preprocessing)


def _as_bytes(pixels: np.ndarray) -> torch.Tensor:
    import torch

    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ObtransferError(f"needed pixels uint8 [B, H, W, 3]; got {pixels.dtype} {list(pixels.shape)}")
    writable = pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy()
    return torch.from_numpy(writable)


def _normalise(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    import torch

    numbers = (preprocessing.mean, preprocessing.std)
    mean, std = (torch.tensor(n, dtype=torch.float32, device=pixels.device) for n in numbers)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


def select(artifact: Artifact, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of one split of a "task" artefact; mapped, not read, where they lie together.

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
            f"needed images in the split {split!r} of the task {artifact.metadata.get('task')!r}; got {counts}; ask for some "
            "in images_per_class"
        )
    where = np.flatnonzero(chosen)
    together = slice(where[0], where[-1] + 1) if where[-1] - where[0] + 1 == len(where) else where
    return artifact.tensors["pixels"][together], artifact.tensors["labels"][together]
