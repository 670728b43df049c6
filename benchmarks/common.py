"""What the benchmarks of curvature share: networks with their sizes, clocks, peaks of memory, tables."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

NUM_CLASSES = 10
MEBI = 2**20


@dataclass(frozen=True)
class Setting:
    """Side of the square images in pixels, and examples per batch."""

    pixels: int
    batch_size: int


CPU_SETTINGS = {
    "miniresnet": Setting(32, 50),
    "minivit": Setting(32, 50),
    "resnet18": Setting(112, 16),
    "resnet50": Setting(112, 16),
    "vit_tiny_patch16_224": Setting(224, 8),
    "vit_small_patch16_224": Setting(224, 8),
}
GPU_SETTINGS = {"resnet50": Setting(224, 64), "vit_base_patch16_224": Setting(224, 64)}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SETTINGS = GPU_SETTINGS if DEVICE.type == "cuda" else CPU_SETTINGS


@dataclass(frozen=True)
class Problem:
    """A network in evaluation mode, a random head, and one batch of random examples."""

    model: nn.Module
    head_weight: Tensor
    head_bias: Tensor
    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, name: str) -> Problem:
        """The network of this name at its setting."""
        from obtransfer.models.build import build

        torch.manual_seed(0)
        setting = SETTINGS[name]
        model = build(name).eval().to(DEVICE)
        images = torch.randn(setting.batch_size, 3, setting.pixels, setting.pixels, device=DEVICE)
        labels = torch.randint(NUM_CLASSES, images.shape[:1], device=DEVICE)
        weight = torch.randn(NUM_CLASSES, int(model.num_features), device=DEVICE) / model.num_features**0.5
        return cls(model, weight, torch.zeros(NUM_CLASSES, device=DEVICE), images, labels)

    def loss(self, model: nn.Module) -> Tensor:
        """½ Σ_n ‖f(x_n) − onehot(y_n)‖²: a forward pass with a graph."""
        logits = model(self.images) @ self.head_weight.T + self.head_bias
        return (logits - nn.functional.one_hot(self.labels, NUM_CLASSES)).square().sum() / 2


def clock(kind: str) -> Callable[[], float]:
    """Seconds after everything asked for so far is done: `wall` time, or `cpu` time of all threads of this process."""
    now = time.perf_counter if kind == "wall" else time.process_time

    def read() -> float:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return now()

    return read


def reset_peak() -> None:
    """Begin to measure `peak_mebibytes`."""
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_mebibytes() -> float:
    """Highest memory since `reset_peak`: resident in RAM, or allocated on the GPU."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / MEBI
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def free_mebibytes() -> float:
    """Memory that can still be had on the device."""
    if DEVICE.type == "cuda":
        return torch.cuda.mem_get_info()[0] / MEBI
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 1024
    return float("inf")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as they need to be."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
