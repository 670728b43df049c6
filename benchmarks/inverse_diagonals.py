"""Inverse diagonals of all blocks from their Gram matrices, against rank-1 updates of the inverse.

    OMP_NUM_THREADS=1 python benchmarks/inverse_diagonals.py --sizes 16 64 128 256

The same quantity, diag (G Gᵀ / V + λ I)⁻¹ for V vectors per block, is made from the finished Gram (what a
criterion does: one Gram serves every λ), from the vectors by Gram and Cholesky, and from the vectors by
Sherman and Morrison's update, one vector at a time as in WoodFisher (Singh and Alistarh, 2020). That comes in
three forms, of which the fastest counts: all blocks together in torch or numpy, and block by block in the
cache with BLAS (ssymv and ssyr, which touch one triangle only). Updates in float32, ours in float64. Times
are the best of the interleaved repeats.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.linalg.blas import ssymv, ssyr

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from obtransfer.criteria.blocks import inverse_diagonal

DAMPING = 0.1
Rank1 = Callable[[np.ndarray], np.ndarray]


def rank1_torch(vectors: np.ndarray) -> np.ndarray:
    """All blocks [b, V, B] together; one matrix-vector product and one update per vector."""
    count, num_vectors, size = vectors.shape
    inverse = (torch.eye(size) / DAMPING).repeat(count, 1, 1)
    columns = torch.from_numpy(vectors).transpose(0, 1).contiguous().unsqueeze(-1)
    for column in columns:
        moved = torch.bmm(inverse, column)
        scale = num_vectors + (moved * column).sum(1, keepdim=True)
        inverse.baddbmm_(moved, (moved / scale).transpose(1, 2), alpha=-1)
    return inverse.diagonal(dim1=1, dim2=2).numpy()


def rank1_numpy(vectors: np.ndarray) -> np.ndarray:
    """The same in numpy."""
    count, num_vectors, size = vectors.shape
    inverse = np.tile(np.eye(size, dtype=np.float32) / np.float32(DAMPING), (count, 1, 1))
    update = np.empty_like(inverse)
    for column in np.ascontiguousarray(vectors.transpose(1, 0, 2))[..., None]:
        moved = inverse @ column
        scale = num_vectors + (moved * column).sum(axis=1, keepdims=True)
        inverse -= np.multiply(moved, (moved / scale).transpose(0, 2, 1), out=update)
    return inverse.diagonal(axis1=1, axis2=2)


def rank1_blas(vectors: np.ndarray) -> np.ndarray:
    """One block after the other, so that its inverse stays in the cache."""
    count, num_vectors, size = vectors.shape
    diagonals = np.empty((count, size))
    for block, own in zip(diagonals, vectors, strict=True):
        inverse = np.asfortranarray(np.eye(size, dtype=np.float32) / np.float32(DAMPING))
        for vector in own:
            moved = ssymv(1.0, inverse, vector, lower=1)
            ssyr(-1.0 / (num_vectors + float(vector @ moved)), moved, lower=1, a=inverse, overwrite_a=1)
        block[:] = inverse.diagonal()
    return diagonals


RANK1: dict[str, Rank1] = {"torch": rank1_torch, "numpy": rank1_numpy, "BLAS": rank1_blas}


def gram(vectors: np.ndarray) -> np.ndarray:
    return np.matmul(vectors.transpose(0, 2, 1), vectors) / np.float32(vectors.shape[1])


def best_seconds(works: dict[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, float]:
    best = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def print_row(size: int, num_vectors: int, entries: int, repeats: int) -> None:
    count = max(4, entries // size**2)
    vectors = np.random.default_rng(0).standard_normal((count, num_vectors, size), dtype=np.float32)
    blocks = gram(vectors)
    works: dict[str, Callable[[], np.ndarray]] = {
        "inverse": lambda: inverse_diagonal(blocks, count * size, DAMPING),
        "gram": lambda: inverse_diagonal(gram(vectors), count * size, DAMPING),
    }
    works |= {name: lambda work=work: work(vectors) for name, work in RANK1.items()}
    seconds = best_seconds(works, repeats)
    fastest = min(RANK1, key=seconds.__getitem__)
    expected = works["inverse"]().reshape(count, size)
    error = max(float(np.abs(RANK1[name](vectors) / expected - 1).max()) for name in RANK1)
    cells = [f"{1e6 * seconds[name] / count:.0f}" for name in ("inverse", "gram", *RANK1)]
    ratios = [f"{seconds[fastest] / seconds[name]:.0f}" for name in ("inverse", "gram")]
    print(f"| {size} | {' | '.join(cells)} | {' | '.join(ratios)} | {error:.0e} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[16, 32, 64, 128, 256])
    parser.add_argument("--vectors", type=int, default=512)
    parser.add_argument("--entries", type=int, default=2**19, help="of the blocks of one size, together")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} thread(s), {options.vectors} vectors per block, µs per block\n")
    print(
        "| B | from the Gram | from vectors | rank-1, torch | rank-1, numpy | rank-1, BLAS | "
        "ratio from the Gram | ratio from vectors | largest relative difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for size in options.sizes:
        print_row(size, options.vectors, options.entries, options.repeats)
