"""Statistics of a backbone over a task's calibration images, with their files: what steps of the workflow share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from obtransfer.artifacts import map_tensors, read_tensors, write_tensors
from obtransfer.curvature.compute import compute_curvature
from obtransfer.curvature.examples import Head
from obtransfer.curvature.plan import plan
from obtransfer.curvature.request import Request
from obtransfer.curvature.structures.base import parse
from obtransfer.data.calibration import choose
from obtransfer.data.calibration import share as share_of
from obtransfer.data.pixels import batches, select
from obtransfer.errors import ObtransferError
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.registry import ESTIMATORS, STRUCTURES
from obtransfer.runtime.batch_size import BatchSize

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Calibration:
    """Images, labels and head of the source; iterating gives batches (images, labels, positions in the split)."""

    pixels: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    head: Head | None
    preprocessing: Preprocessing
    batch_size: int
    device: str

    @classmethod
    def blank(cls, preprocessing: Preprocessing, device: str) -> Calibration:
        """One black image without a head, for statistics that read no data."""
        side, nothing = preprocessing.input_size, np.zeros(1, dtype=np.int64)
        return cls(
            np.zeros((1, side, side, 3), dtype=np.uint8), nothing, nothing, None, preprocessing, 1, device
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        size, device = self.batch_size, self.device
        images = batches(self.pixels, self.preprocessing, batch_size=size, device=device)
        for number, batch in enumerate(images):
            part = slice(number * size, (number + 1) * size)
            labels = torch.from_numpy(self.labels[part]).to(device)
            yield batch, labels, torch.from_numpy(self.positions[part])


def read_calibration(
    task_images: Path,
    head: Path,
    preprocessing: Preprocessing,
    settings: Mapping[str, Any],
    *,
    seed: int,
    share: Sequence[int] = (1, 1),
    device: str = "cpu",
) -> Calibration:
    """Draw the examples of one share of a task, by seed and evenly from every class.

    Args:
        task_images: "task" artefact.
        head: "head" artefact of the same task.
        preprocessing: of the backbone.
        settings: `num_examples` and `batch_size`.
        seed: of the draw.
        share: which one, from 1, and of how many.
        device: where batches go.
    """
    pixels, labels = select(map_tensors(task_images, kind="task"), "calibration")
    classifier = read_tensors(head, kind="head").tensors
    found = choose(labels, settings["num_examples"], len(classifier["bias"]), seed)
    chosen = share_of(found, *share)
    weight, bias = (torch.tensor(classifier[n].astype(np.float32), device=device) for n in ("weight", "bias"))
    labels = labels[chosen].astype(np.int64)
    return Calibration(
        pixels[chosen], labels, chosen, Head(weight, bias), preprocessing, settings["batch_size"], device
    )


def statistic_of(
    model: nn.Module,
    calibration: Calibration,
    request: Request,
    *,
    prior: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensors:
    """A statistic on the host, in batches of images that fit the device's memory.

    Args:
        model: on the device where to compute; comes back as it was.
        calibration: the source's; `Calibration.blank` for an estimator that reads no data.
        request: what to compute.
        prior: the statistic of `request.prior`; None: computed first.
        progress: called with the number of examples done.

    Returns:
        Keys of `compute_curvature` -> arrays laid out as those of a file: sums over another layout have other last bits.
    """
    if ESTIMATORS[request.estimator].data and calibration.head is None:
        raise ObtransferError(
            f"{request.estimator} needs a source's images and head; got none; name a source"
        )
    device = next(model.parameters()).device
    given = {name: torch.tensor(array, device=device) for name, array in (prior or {}).items()} or None
    size = BatchSize(calibration.batch_size, "curvature")
    while True:
        # The first batch is the largest, so little is done twice. Sums over examples do not depend on the batches.
        examples = replace(calibration, batch_size=size.value)
        try:
            found = compute_curvature(
                model, calibration.head, examples, request, prior=given, progress=progress
            )
            return {name: tensor.cpu().contiguous().numpy() for name, tensor in found.items()}
        except torch.OutOfMemoryError:
            size.halve(min(size.value, len(calibration.labels)))


def describe(backbone: str, calibration: Calibration, request: Request) -> dict[str, Any]:
    """The metadata of a statistic's file."""
    name, options = parse(request.structure)
    return {
        "backbone": backbone,
        "estimator": request.estimator,
        "structure": name,
        "block_size": options.get("block_size"),
        "num_examples": len(calibration.labels) if calibration.head else 0,
        "num_classes": len(calibration.head.bias) if calibration.head else 0,
        **request.options,
    }


def layer_groups(
    model: nn.Module, request: Request, memory_gb: float | None, device: str
) -> Sequence[Sequence[str]]:
    """Layers whose statistics fit the memory together; the plan goes to the log before anything is computed.

    A statistic that is not made of per-example gradients is one group, because its other memory would not shrink.
    """
    assert request.parameters is not None  # a backbone's
    if STRUCTURES[parse(request.structure)[0]].start is None:
        return [request.parameters]
    planned = plan(model, request, memory_limit(memory_gb, device))
    print(planned.describe(), flush=True)
    return planned.groups


def memory_limit(memory_gb: float | None, device: str) -> int | None:
    """Bytes that a statistic may take: what was asked for, or half of the free memory; None if that is unknown."""
    if memory_gb is not None:
        return int(memory_gb * 1e9)
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0]) // 2
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    allocated = int(os.environ.get("SLURM_MEM_PER_NODE", "0")) * 2**20
    return min(free, allocated or free) // 2


def write_in_groups(
    path: Path,
    groups: Sequence[Sequence[str]],
    compute: Callable[[Sequence[str]], Tensors],
    metadata: Mapping[str, Any],
) -> None:
    """Write a statistic whose groups of layers are computed one after the other.

    With several groups, each goes to a file beside `path` as soon as it is computed, and a killed run continues
    with the next. Only one group is in memory at a time.
    """
    if len(groups) == 1:
        write_tensors(path, compute(groups[0]), kind="curvature", metadata=metadata)
        return
    files = [path.with_name(f"{path.stem}.group_{i}.safetensors") for i in range(len(groups))]
    tensors: Tensors = {}
    for file, group in zip(files, groups, strict=True):
        card = {**metadata, "layers": list(group)}
        if not _is_done(file, card):
            write_tensors(file, compute(group), kind="group", metadata=card)
        tensors |= map_tensors(file, kind="group").tensors
    write_tensors(path, tensors, kind="curvature", metadata=metadata)
    for file in files:
        file.unlink()


def _is_done(file: Path, card: Mapping[str, Any]) -> bool:
    """Whether a killed run of the same job left this group."""
    try:
        return map_tensors(file, kind="group").metadata == card
    except ObtransferError:
        return False
