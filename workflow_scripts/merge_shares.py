"""One statistic from the shares of the calibration images that several jobs have read."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def merge_shares(shares: list[Path], curvature: Path, *, made: dict[str, Any]) -> None:
    """Write `curvature`: the mean of the shares, weighted by their numbers of examples."""
    from obtransfer.artifacts import map_tensors, write_tensors
    from obtransfer.curvature.merge import merge
    from obtransfer.registry import STRUCTURES

    found = [map_tensors(path, kind="curvature") for path in shares]
    counts = [share.metadata["num_examples"] for share in found]
    structure = STRUCTURES[found[0].metadata["structure"]]
    merged = merge([(share.tensors, count) for share, count in zip(found, counts, strict=True)], structure)
    metadata = {**found[0].metadata, "num_examples": sum(counts), "made": made}
    write_tensors(curvature, merged, kind="curvature", metadata=metadata)


if "snakemake" in globals():
    run_step(merge_shares, globals()["snakemake"])
