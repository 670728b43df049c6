"""Artefacts against the safetensors library on the same arrays: seconds and private memory.

    python benchmarks/artifacts.py --megabytes 512

Written are arrays that are mapped from a file; the files are flushed to the disk. Ours also makes, or checks, a SHA-256 of
the content, which the library lacks; the column after ours shows its seconds. Memory is the growth of the process's private
memory over the bytes of the arrays. Each version runs in a process of its own. Times are the best of the interleaved
repeats.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from obtransfer.artifacts import map_tensors, write_tensors

NUM_ARRAYS = 16


def mapped(source: Path) -> dict[str, np.ndarray]:
    rows = np.memmap(source, dtype=np.float32, mode="r").reshape(NUM_ARRAYS, -1)
    return {f"layers.{number}.weight": row for number, row in enumerate(rows)}


def checksum(arrays: dict[str, np.ndarray]) -> None:
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(array.data)


def works(folder: Path) -> dict[str, Callable[[], object]]:
    source, ours, theirs = (folder / name for name in ("source", "ours.safetensors", "theirs.safetensors"))
    return {
        "SHA-256": lambda: checksum(mapped(source)),
        "write, ours": lambda: write_tensors(ours, mapped(source), kind="curvature"),
        "write, safetensors": lambda: save_flushed(mapped(source), theirs),
        "read, ours": lambda: map_tensors(ours, kind="curvature"),
        "read, safetensors": lambda: load_file(theirs),
    }


def save_flushed(arrays: dict[str, np.ndarray], path: Path) -> None:
    save_file(arrays, path)
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def private_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def run(folder: Path, name: str) -> None:
    """In a process of its own: print seconds, and by how much its private memory has grown while the result lives."""
    before, begun = private_bytes(), time.perf_counter()
    result = works(folder)[name]()
    print(time.perf_counter() - begun, private_bytes() - before)
    del result


def measure(folder: Path, name: str) -> tuple[float, float]:
    command = [sys.executable, __file__, "--run", str(folder), name]
    seconds, grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(grown)


def print_table(megabytes: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, num_bytes = Path(name), megabytes * 10**6 // (4 * NUM_ARRAYS) * 4 * NUM_ARRAYS
        np.random.default_rng(0).standard_normal(num_bytes // 4, dtype=np.float32).tofile(folder / "source")
        found = [{work: measure(folder, work) for work in works(folder)} for _ in range(repeats)]
    seconds = {work: min(each[work][0] for each in found) for work in found[0]}
    memory = {work: max(each[work][1] for each in found) / num_bytes for work in found[0]}
    print(
        "| | seconds, ours | of these SHA-256 | seconds, safetensors | memory, ours | memory, safetensors |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for work in ("write", "read"):
        ours, theirs = f"{work}, ours", f"{work}, safetensors"
        cells = [f"{seconds[name]:.2f}" for name in (ours, "SHA-256", theirs)]
        print(f"| {work} | {' | '.join(cells)} | {memory[ours]:.2f} | {memory[theirs]:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(Path(options.run[0]), options.run[1])
    else:
        print_table(options.megabytes, options.repeats)
