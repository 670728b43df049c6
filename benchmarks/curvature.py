"""Time of curvature relative to a plain forward + backward over the same examples.

    python benchmarks/curvature.py --threads 1 --models miniresnet minivit resnet18

Every ratio is the best of the interleaved repeats; both sides use evaluation mode and the same batches.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from obtransfer.curvature.compute import compute_curvature
from obtransfer.models.build import build

SIZES = {"miniresnet": 32, "minivit": 32, "resnet18": 64}
NUM_CLASSES = 10
Batches = list[tuple[Tensor, Tensor]]
CASES: dict[str, dict[str, object]] = {
    "ef diagonal": {"estimator": "empirical_fisher", "structure": "diagonal"},
    "ef block 16": {"estimator": "empirical_fisher", "structure": "block", "block_size": 16},
    "ef block 64": {"estimator": "empirical_fisher", "structure": "block", "block_size": 64},
    "ggn diagonal": {"estimator": "ggn", "structure": "diagonal"},
    "ggn block 16": {"estimator": "ggn", "structure": "block", "block_size": 16},
}


def plain(model: nn.Module, head: tuple[Tensor, Tensor], batches: Batches) -> None:
    """One forward and one ordinary backward pass over the data."""
    for images, labels in batches:
        logits = model(images) @ head[0].T + head[1]
        loss = (logits - nn.functional.one_hot(labels, NUM_CLASSES)).square().sum() / 2
        model.zero_grad()
        loss.backward()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, cases: list[str], batch_size: int, num_batches: int, repeats: int) -> list[float]:
    """Milliseconds per example of the plain pass, then the ratio of each case."""
    model = build(name).eval()
    shape = (batch_size, 3, SIZES[name], SIZES[name])
    batches = [(torch.randn(shape), torch.randint(NUM_CLASSES, shape[:1])) for _ in range(num_batches)]
    features = int(model(batches[0][0]).shape[1])
    head = torch.randn(NUM_CLASSES, features) / features**0.5, torch.zeros(NUM_CLASSES)
    works: list[Callable[[], object]] = [lambda: plain(model, head, batches)]
    for case in (CASES[key] for key in cases):
        works.append(lambda case=case: compute_curvature(model, *head, batches, **case))
    best = [min(times) for times in zip(*[[seconds(w) for w in works] for _ in range(repeats)], strict=True)]
    return [1000 * best[0] / (batch_size * num_batches)] + [time / best[0] for time in best[1:]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--num-batches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'ratios to':12}{'plain ms/ex.':>14}" + "".join(f"{case:>14}" for case in options.cases))
    for name in options.models:
        row = measure(name, options.cases, options.batch_size, options.num_batches, options.repeats)
        print(f"{name:12}" + "".join(f"{value:14.2f}" for value in row), flush=True)
