"""The grid of a configuration: its points, and the path of every artefact.

A path names exactly what its content depends on. `magnitude` reads no data, so its path has no source and no seed
and every source shares its masks; `random` has a seed; a criterion that reads curvature has a source and a seed.

    scoring   magnitude | random/seed_0 | obd/upper/seed_0
    state     dense | <scoring>/<allocation>/sparsity_<sparsity>
    batchnorm keep | recalibrate_<source>
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import product
from typing import Any

from obtransfer.registry import ARCHITECTURES, CRITERIA

DENSE = "dense"


@dataclass(frozen=True)
class Point:
    """One model of the grid, as a row of the summary names it. `stage` is dense, pruned or finetuned."""

    backbone: str
    source: str
    criterion: str
    allocation: str
    sparsity: str
    seed: int
    stage: str
    batchnorm: str

    def columns(self) -> dict[str, Any]:
        """The summary's identifying columns, in order."""
        architecture, pretraining = self.backbone.split(".")
        fields = asdict(self)
        del fields["backbone"]
        return {"architecture": architecture, "pretraining": pretraining, **fields}


def decimal(sparsity: float | str) -> str:
    """The one way a sparsity is written in a path: 0.70 and 0.7 are both ``0.7``."""
    return format(Decimal(str(sparsity)).normalize(), "f")


def points(config: Mapping[str, Any]) -> Iterator[Point]:
    """Every model the summary reports: dense, pruned and, if asked for, fine-tuned, with their controls."""
    grid = config["grid"]
    for backbone, source, seed in product(grid["backbones"], grid["sources"], grid["seeds"]):
        tuned = _batchnorms(backbone, grid["finetune"])
        for batchnorm in _batchnorms(backbone, grid["batchnorm"]):
            stages = ("pruned", "finetuned") if batchnorm in tuned else ("pruned",)
            for stage in stages:
                dense = "dense" if stage == "pruned" else stage
                yield Point(backbone, source, DENSE, "", "0", seed, dense, batchnorm)
            for criterion, allocation, sparsity, stage in product(
                grid["criteria"], grid["allocations"], map(decimal, grid["sparsities"]), stages
            ):
                yield Point(backbone, source, criterion, allocation, sparsity, seed, stage, batchnorm)


def scoring(config: Mapping[str, Any], label: str, source: str, seed: int) -> str:
    """Path fragment that names what a criterion's scores depend on."""
    criterion = CRITERIA[settings(config, label)["criterion"]]
    if criterion.needs != "none":
        return f"{label}/{source}/seed_{seed}"
    return f"{label}/seed_{seed}" if criterion.seeded else label


def evaluation(config: Mapping[str, Any], point: Point, suite: str) -> str:
    """Path, below the results' folder, of the accuracies of `point` on the tasks of `suite`."""
    model = f"{point.backbone}/{_state(config, point)}/{_batchnorm(point)}"
    if point.stage == "finetuned":
        model += f"/on_{point.source}/seed_{point.seed}"
    return f"evaluations/{model}/{suite}.csv"


def settings(config: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Settings of the criterion called `label` in the configuration; a bare criterion's name is its own label."""
    return dict(config.get("criteria", {}).get(label, {"criterion": label}))


def structure(config: Mapping[str, Any], label: str) -> str:
    """The curvature structure a criterion reads, as paths write it: ``diagonal`` or ``block16``."""
    chosen = settings(config, label)
    needs = CRITERIA[chosen["criterion"]].needs
    return f"block{chosen['block_size']}" if needs == "block" else needs


def _state(config: Mapping[str, Any], point: Point) -> str:
    if point.criterion == DENSE:
        return DENSE
    scored = scoring(config, point.criterion, point.source, point.seed)
    return f"{scored}/{point.allocation}/sparsity_{point.sparsity}"


def _batchnorm(point: Point) -> str:
    return f"recalibrate_{point.source}" if point.batchnorm == "recalibrate" else point.batchnorm


def _batchnorms(backbone: str, wanted: list[str]) -> list[str]:
    """The treatments that mean something: without BatchNorm there is nothing to recalibrate."""
    if not wanted or ARCHITECTURES[backbone.split(".")[0]].has_batchnorm:
        return wanted
    return ["keep"]
