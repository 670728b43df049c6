"""One statistic from the shares of the calibration images that several jobs have read."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def merge_shares(shares: list[Path], curvature: Path, *, made: dict[str, Any]) -> None:
    """Write `curvature`: the mean of the shares, weighted by their numbers of examples."""
    from obtransfer.artifacts import map_tensors, write_tensors
    from obtransfer.curvature.merge import merge

    parts = [map_tensors(path, kind="curvature") for path in shares]
    counts = [part.metadata["num_examples"] for part in parts]
    found = merge([(part.tensors, count) for part, count in zip(parts, counts, strict=True)])
    metadata = {**parts[0].metadata, "num_examples": sum(counts), "made": made}
    write_tensors(curvature, found, kind="curvature", metadata=metadata)


if "snakemake" in globals():
    run_step(merge_shares, globals()["snakemake"])
