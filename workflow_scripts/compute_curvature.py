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
    prior: Path | None,
    curvature: Path,
    *,
    estimator: str,
    structure: str,
    seed: str,
    share: tuple[int, int],
    settings: dict[str, Any],
    made: dict[str, Any],
) -> None:
    """Write `curvature`: a statistic of the calibration images drawn by `seed`, of which this job reads one share."""
    from dataclasses import replace

    from obtransfer.artifacts import check_finite, map_tensors
    from obtransfer.assemble import load_pruned
    from obtransfer.curvature.request import Request
    from obtransfer.curvature.statistic import (
        Calibration,
        describe,
        layer_groups,
        read_calibration,
        statistic_of,
        write_in_groups,
    )
    from obtransfer.runtime.device import device
    from obtransfer.runtime.progress import bar

    backbone = load_pruned(weights, mask, None, device=device())
    model, preprocessing = backbone.model, backbone.preprocessing
    request = Request.of(estimator, structure, settings, seed=int(seed), parameters=backbone.prunable)
    calibration = Calibration.blank(preprocessing, device())
    if task_images is not None and head is not None:
        calibration = read_calibration(
            task_images, head, preprocessing, settings, seed=int(seed), share=share, device=device()
        )
    arrays = map_tensors(prior, kind="curvature").tensors if prior else None

    def compute(layers: Sequence[str]) -> dict[str, Any]:
        some = replace(request, parameters=tuple(layers))
        with bar(len(calibration.labels), str(request)) as progress:
            found = statistic_of(model, calibration, some, prior=arrays, progress=progress)
        check_finite(found, f"{request} of {backbone.name}")
        for name, array in found.items() if estimator == "hessian" else ():
            print(f"{name}: {(array < 0).mean():.1%} of the diagonal is negative", flush=True)
        return found

    groups = layer_groups(model, request, settings.get("memory_gb"), device())
    metadata = describe(backbone.name, calibration, request) | {"made": made}
    write_in_groups(curvature, groups, compute, metadata)


if "snakemake" in globals():
    run_step(compute_curvature, globals()["snakemake"], preload=("torch", "timm"))
