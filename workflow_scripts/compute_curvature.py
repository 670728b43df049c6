"""Curvature, or another statistic, of the source task's loss at the pre-trained weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def compute_curvature(
    weights: Path,
    mask: Path | None,
    task_images: Path | None,
    head: Path | None,
    first: Path | None,
    curvature: Path,
    *,
    estimator: str,
    structure: str,
    seed: str,
    part: tuple[int, int],
    settings: dict[str, Any],
    made: dict[str, Any],
) -> None:
    """Write `curvature`: a statistic of the calibration images drawn by `seed`, of which this job reads one share."""
    from obtransfer.artifacts import check_finite, map_tensors
    from obtransfer.assemble import load_pruned
    from obtransfer.curvature.statistic import (
        compute_statistic,
        describe,
        layer_groups,
        read_calibration,
        write_in_groups,
    )
    from obtransfer.runtime.progress import bar
    from obtransfer.runtime.step import device

    backbone = load_pruned(weights, mask, None, device=device())
    model, card = backbone.model, backbone.metadata
    calibration = None
    if task_images is not None and head is not None:
        calibration = read_calibration(
            task_images,
            head,
            backbone.preprocessing,
            num_examples=settings["num_examples"],
            batch_size=settings["batch_size"],
            seed=int(seed),
            part=(part[0], part[1]),
            device=device(),
        )
    groups = layer_groups(model, card, structure, settings.get("memory_gb"), device())
    earlier = map_tensors(first, kind="curvature").tensors if first else None

    def compute(layers: Sequence[str]) -> dict[str, Any]:
        with bar(len(calibration.labels) if calibration else 1, f"{estimator} {structure}") as progress:
            found = compute_statistic(
                model,
                card,
                calibration,
                estimator=estimator,
                structure=structure,
                settings=settings,
                seed=int(seed),
                first=earlier,
                parameters=layers,
                progress=progress,
            )
        check_finite(found, f"{estimator} {structure} of {card['backbone']}")
        for name, array in found.items() if estimator == "hessian" else ():
            print(f"{name}: {(array < 0).mean():.1%} of the diagonal is negative", flush=True)
        return found

    metadata = describe(card, calibration, estimator, structure, settings) | {"made": made}
    write_in_groups(curvature, groups, compute, metadata)


if "snakemake" in globals():
    run_step(compute_curvature, globals()["snakemake"], preload=("torch", "timm"))
