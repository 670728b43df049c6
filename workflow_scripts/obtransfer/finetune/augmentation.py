"""Random crops and flips of a batch, on the batch's device."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

_CROP_STREAM = 1  # (seed, epoch) alone is the order of the images
_AREA = (0.08, 1.0)
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))


def augment(
    batch: torch.Tensor, kind: str, seed: int, epoch: int, images: npt.NDArray[np.int64]
) -> torch.Tensor:
    """The batch with each image flipped, and cropped and resized, at random.

    An image's draw depends on (seed, epoch, its number) alone, not on its batch. crop_flip takes a box anywhere in the
    image and resizes it bilinearly, without antialiasing. The box has a fraction of the image's area that is uniform in
    0.08 … 1 and a ratio of sides that is log-uniform in 3/4 … 4/3, clipped to the image. The image is the centre crop
    that evaluation reads, so crops never show what lies outside it.

    Source: Szegedy et al. 2015 (arXiv 1409.4842), section 6, for the distribution of the boxes.

    Args:
        batch: [B, C, H, W] floating, not changed.
        kind: "none", "flip" or "crop_flip".
        seed: of the run.
        epoch: from 0.
        images: [B] numbers of the images in their split.

    Returns:
        [B, C, H, W]; for "none" the batch itself.
    """
    if kind == "none":
        return batch
    numbers = [np.random.default_rng([seed, epoch, _CROP_STREAM, int(i)]).random(5) for i in images]
    draws = torch.from_numpy(np.stack(numbers))
    flipped = (draws[:, 4] < 0.5).to(batch.device).view(-1, 1, 1, 1)
    batch = torch.where(flipped, batch.flip(3), batch)
    return _crop(batch, *boxes(draws)) if kind == "crop_flip" else batch


def _crop(batch: torch.Tensor, centre: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    transform = torch.zeros(len(batch), 2, 3)
    transform[:, 0, 0], transform[:, 1, 1] = half[:, 0], half[:, 1]
    transform[:, :, 2] = centre
    grid = nn.functional.affine_grid(
        transform.to(batch.device, batch.dtype), list(batch.shape), align_corners=False
    )
    moved = nn.functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def boxes(draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and half sides [B, 2] (x, y) of crops, in coordinates −1 … 1 over the image, from uniform draws [B, >= 4]."""
    area = _AREA[0] + (_AREA[1] - _AREA[0]) * draws[:, 0]
    ratio = torch.exp(_LOG_RATIO[0] + (_LOG_RATIO[1] - _LOG_RATIO[0]) * draws[:, 1])
    half = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1.0)
    centre = (1 - half) * (2 * draws[:, 2:4] - 1)
    return centre.float(), half.float()
