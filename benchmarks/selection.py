"""Exact selection of the lowest 90 % of the scores of a network, against torch.kthvalue on the same data.

    OMP_NUM_THREADS=1 python benchmarks/selection.py --millions 25 86

`keep_masks` returns the finished masks, ties by position, and gets the scores as the layers of a network;
`kthvalue` returns one number, and gets them as one array. Times are the best of the interleaved repeats;
memory is what the peak of the process grows by during one call, in a process of its own, in units of the
scores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from obtransfer.masks.topk import keep_masks

NUM_LAYERS = 54
KINDS = ("distinct", "nine in ten zero", "one binade")
Work = Callable[[], object]


def make_scores(millions: int, dtype: str, kind: str) -> np.ndarray:
    """Squares of normal numbers, or with ties, or close together; without any other array beside."""
    scores = np.empty(millions * 10**6, dtype=dtype)
    np.random.default_rng(0).standard_normal(out=scores, dtype=scores.dtype)
    np.square(scores, out=scores)
    if kind == "nine in ten zero":
        for start in range(0, scores.size, 2**16):
            part = scores[start : start + 2**16]
            part[part < 2.7] = 0
    if kind == "one binade":
        scores *= 1e-3
        scores += 1
    return scores


def works(scores: np.ndarray) -> dict[str, Work]:
    num_removed = scores.size * 9 // 10
    layers = np.array_split(scores, NUM_LAYERS)
    flat = torch.from_numpy(scores)
    return {
        "ours": lambda: keep_masks(layers, num_removed),
        "kthvalue": lambda: torch.kthvalue(flat, num_removed),
    }


def best_seconds(tasks: dict[str, Work], repeats: int) -> dict[str, float]:
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(repeats):
        for name, work in tasks.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def print_growth(millions: int, dtype: str, kind: str, name: str) -> None:
    """In a process of its own: by how much its peak grows, in units of the scores."""
    scores = make_scores(millions, dtype, kind)
    work = works(scores)[name]
    before = peak_bytes()
    result = work()
    grown = peak_bytes() - before
    del result
    print(grown / scores.nbytes)


def peak_bytes() -> int:
    """Of this program alone: `getrusage` counts what its parent held when it was started, too."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def growth(millions: int, dtype: str, kind: str, name: str) -> float:
    command = [sys.executable, __file__, "--growth", str(millions), dtype, kind, name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_table(sizes: list[int], repeats: int) -> None:
    print(f"{torch.get_num_threads()} thread(s)\n")
    print(
        "| scores | type | values | `keep_masks` s | `kthvalue` s | ratio | memory | memory of `kthvalue` |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for millions in sizes:
        for dtype in ("float64", "float32"):
            for kind in KINDS:
                seconds = best_seconds(works(make_scores(millions, dtype, kind)), repeats)
                grown = {name: growth(millions, dtype, kind, name) for name in seconds}
                ours, other = seconds["ours"], seconds["kthvalue"]
                cells = [f"{millions} M", dtype, kind, f"{ours:.3f}", f"{other:.3f}", f"{ours / other:.2f}"]
                cells += [f"{grown['ours']:.2f}", f"{grown['kthvalue']:.2f}"]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", nargs="+", type=int, default=[25])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--growth", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.growth:
        print_growth(int(options.growth[0]), *options.growth[1:])
    else:
        print_table(options.millions, options.repeats)
