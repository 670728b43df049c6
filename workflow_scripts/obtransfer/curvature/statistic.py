"""A statistic of a model over a task's calibration images: what curvature steps and pruning in rounds share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from obtransfer.artifacts import map_tensors, read_tensors, write_tensors
from obtransfer.data.calibration import choose, share
from obtransfer.data.pixels import batches, select
from obtransfer.errors import ObtransferError
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.registry import ESTIMATORS, resolve
from obtransfer.runtime.batch_size import BatchSize

if TYPE_CHECKING:
    import torch
    from torch import nn

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Calibration:
    """Images, labels and head of the source; iterating gives batches (images, labels, positions in the split)."""

    pixels: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    head_weight: np.ndarray
    head_bias: np.ndarray
    preprocessing: Preprocessing
    batch_size: int
    device: str

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        import torch

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
    *,
    num_examples: int,
    batch_size: int,
    seed: int,
    part: tuple[int, int] = (1, 1),
    device: str = "cpu",
) -> Calibration:
    """Draw the examples of one share of a task, by seed and evenly from every class."""
    pixels, labels = select(map_tensors(task_images, kind="task"), "calibration")
    classifier = read_tensors(head, kind="head").tensors
    chosen = share(choose(labels, num_examples, len(classifier["bias"]), seed), *part)
    weight, bias = (classifier[name].astype(np.float32) for name in ("weight", "bias"))
    labels = labels[chosen].astype(np.int64)
    return Calibration(pixels[chosen], labels, chosen, weight, bias, preprocessing, batch_size, device)


def parse_structure(word: str) -> tuple[str, int | Literal["row"]]:
    """``block16`` is ("block", 16), ``blockrow`` ("block", "row"), and any other word itself."""
    if not word.startswith("block"):
        return word, 1
    size = word.removeprefix("block")
    return "block", "row" if size == "row" else int(size)


def compute_statistic(
    model: nn.Module,
    card: Mapping[str, Any],
    calibration: Calibration | None,
    *,
    estimator: str,
    structure: str,
    settings: Mapping[str, Any],
    seed: int,
    first: Mapping[str, np.ndarray] | None = None,
    parameters: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensors:
    """One statistic of some prunable weights, on the host.

    Args:
        model: on the device where to compute; comes back as it was.
        card: the backbone's metadata.
        calibration: None for an estimator that reads no data.
        estimator: key of `registry.ESTIMATORS`.
        structure: as paths write it.
        settings: of `curvature`: the keys that the estimator reads.
        seed: of sampled estimators.
        first: the statistic that the estimator or structure builds on.
        parameters: names; None for all prunable weights.
        progress: called with the number of examples done.

    Returns:
        Names (`curvature.compute` and the estimators say which) to arrays.
    """
    import torch

    entry = ESTIMATORS[estimator]
    options = {key: settings[key] for key in entry.reads if key in settings}
    options |= {"parameters": list(parameters or card["prunable"]), "progress": progress}
    if not entry.data:
        shape = (3, card["input_size"], card["input_size"])
        found = resolve(entry.compute)(model, None, None, None, input_shape=shape, **options)
        return _on_host(found)
    if calibration is None:
        raise ObtransferError(f"{estimator} needs a source's images and head; got none")
    device = next(model.parameters()).device
    options |= {"seed": seed}
    weight, bias = (torch.tensor(a, device=device) for a in (calibration.head_weight, calibration.head_bias))
    earlier = {name: torch.tensor(a, device=device) for name, a in (first or {}).items()} or None
    if entry.compute.endswith(":accumulate"):
        compute = resolve(entry.compute)
        options |= {"first": earlier}
    else:
        from obtransfer.curvature.compute import compute_curvature as compute

        kind, size = parse_structure(structure)
        options |= {"estimator": estimator, "structure": kind, "block_size": size, "factors": earlier}
    found = _in_batches_that_fit(
        lambda examples: compute(model, weight, bias, examples, **options), calibration
    )
    return _on_host(found)


def _on_host(found: Mapping[str, torch.Tensor]) -> Tensors:
    """Arrays laid out as those of a file: sums over another layout have other last bits."""
    return {name: tensor.cpu().contiguous().numpy() for name, tensor in found.items()}


def _in_batches_that_fit(
    compute: Callable[[Calibration], dict[str, torch.Tensor]], calibration: Calibration
) -> dict[str, torch.Tensor]:
    """The sums over examples do not depend on the batches; the first is the largest, so little is done twice."""
    import torch

    size = BatchSize(calibration.batch_size, "curvature")
    while True:
        try:
            return compute(replace(calibration, batch_size=size.value))
        except torch.OutOfMemoryError:
            size.halve(min(size.value, len(calibration.labels)))


def compute_with_earlier(
    model: nn.Module,
    card: Mapping[str, Any],
    calibration: Calibration | None,
    request: Mapping[str, Any],
    *,
    seed: int,
) -> Tensors | None:
    """A statistic together with the one it builds on, where it builds on one.

    Args:
        model, card, calibration, seed: as for `compute_statistic`.
        request: estimator, structure, settings, and `after`, the statistic it builds on; empty for no statistic.
    """
    if not request:
        return None
    estimator, structure, settings = request["estimator"], request["structure"], request["settings"]
    earlier = f"{estimator}.kfac" if structure == "ekfac" else request["after"]
    first = None
    if earlier:
        name, _, kind = earlier.partition(".")
        first = compute_statistic(
            model, card, calibration, estimator=name, structure=kind, settings=settings, seed=seed
        )
    return compute_statistic(
        model,
        card,
        calibration,
        estimator=estimator,
        structure=structure,
        settings=settings,
        seed=seed,
        first=first,
    )


def describe(
    card: Mapping[str, Any],
    calibration: Calibration | None,
    estimator: str,
    structure: str,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """What the file of a statistic says of itself."""
    kind, size = parse_structure(structure)
    return {
        "backbone": card["backbone"],
        "estimator": estimator,
        "structure": kind,
        "block_size": size if kind == "block" else None,
        "num_examples": len(calibration.labels) if calibration else 0,
        "num_classes": len(calibration.head_bias) if calibration else 0,
        **{key: settings[key] for key in ESTIMATORS[estimator].reads},
    }


def layer_groups(
    model: nn.Module, card: Mapping[str, Any], structure: str, memory_gb: float | None, device: str
) -> Sequence[Sequence[str]]:
    """Layers whose statistics fit the memory together; the plan goes to the log before anything is computed."""
    import torch

    kind, size = parse_structure(structure)
    if kind == "per_weight":
        return [card["prunable"]]
    from obtransfer.curvature.plan import plan

    limit = memory_limit(memory_gb, device)
    made = plan(model, kind, size, torch.float32, card["prunable"], limit)
    print(made.describe(), flush=True)
    return made.groups


def memory_limit(memory_gb: float | None, device: str) -> int | None:
    """Bytes that a statistic may take: what was asked for, or half of what is free now; None where nobody knows."""
    if memory_gb is not None:
        return int(memory_gb * 1e9)
    if device == "cuda":
        import torch

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

    With several groups, each goes to a file beside `path` as soon as it is there, and a killed run goes on with the
    next; only one group is in memory at a time.
    """
    if len(groups) == 1:
        write_tensors(path, compute(groups[0]), kind="curvature", metadata=metadata)
        return
    parts = [path.with_name(f"{path.stem}.group_{i}.safetensors") for i in range(len(groups))]
    tensors: Tensors = {}
    for part, group in zip(parts, groups, strict=True):
        card = {**metadata, "layers": list(group)}
        if not _is_done(part, card):
            write_tensors(part, compute(group), kind="group", metadata=card)
        tensors |= map_tensors(part, kind="group").tensors
    write_tensors(path, tensors, kind="curvature", metadata=metadata)
    for part in parts:
        part.unlink()


def _is_done(part: Path, card: Mapping[str, Any]) -> bool:
    """Whether an earlier run of the same job left this group."""
    try:
        return map_tensors(part, kind="group").metadata == card
    except ObtransferError:
        return False
