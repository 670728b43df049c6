"""The grid of a configuration: its points, and the path of every artefact.

A path names exactly what its content depends on. `magnitude` reads no data, so its path has no source and no seed
and every source shares its masks; `random` has a seed; a criterion that reads curvature has a source and a seed.

    scoring   magnitude | random/seed_0 | obd/upper/seed_0, whose first part is a label of the configuration
    state     dense | <scoring>/<allocation>/sparsity_<sparsity>
    batchnorm keep | recalibrate_<source>
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import product
from typing import Any

from obtransfer.config import backbones
from obtransfer.registry import CRITERIA, DATASETS, ESTIMATORS, TASKS

DENSE = "dense"
CLASSES_DRAWN = 10
MAX_ROUNDS_AS_JOBS = 10
_OF_THE_MASK = (
    "update",
    "rounds",
    "schedule",
)  # settings of a label that its one-shot scores do not depend on


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
        tuned = _batchnorms(config, backbone, grid["finetune"])
        for batchnorm in _batchnorms(config, backbone, grid["batchnorm"]):
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
    chosen = settings(config, label)
    if reads_data(chosen):
        return f"{label}/{source}/seed_{seed}"
    return f"{label}/seed_{seed}" if CRITERIA[chosen["criterion"]].seeded else label


def reads_data(settings: Mapping[str, Any]) -> bool:
    """Whether the criterion with these settings needs a statistic of the source's images."""
    return CRITERIA[settings["criterion"]].needs != "none" and ESTIMATORS[estimator(settings)].data


def scored_label(config: Mapping[str, Any], label: str) -> str:
    """The label under which one-shot scores are filed: labels that differ in the mask's settings only share them."""
    wanted = _of_scores(settings(config, label))
    same = (name for name in config.get("criteria", {}) if settings(config, name) == wanted)
    return next(same, label)


def evaluation(config: Mapping[str, Any], point: Point, suite: str) -> str:
    """Path, below the results' folder, of the accuracies of `point` on the tasks of `suite`."""
    model = f"{point.backbone}/{_state(config, point)}/{_batchnorm(point)}"
    if point.stage == "finetuned":
        model += f"/on_{point.source}/seed_{point.seed}"
    return f"evaluations/{model}/{suite}.csv"


def settings(config: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Settings of the criterion called `label` in the configuration; a bare criterion's name is its own label."""
    return dict(config.get("criteria", {}).get(label, {"criterion": label}))


def estimator(settings: Mapping[str, Any]) -> str:
    """The estimator a criterion reads: its own, or the configured one."""
    return CRITERIA[settings["criterion"]].estimator or str(settings["estimator"])


def structure(settings: Mapping[str, Any]) -> str:
    """The structure a criterion reads, as paths write it: ``diagonal``, ``block16``, ``blockrow``, ``ekfac`` ..."""
    needs = CRITERIA[settings["criterion"]].needs
    if needs == "block":
        return f"block{settings['block_size']}"
    return "ekfac" if needs == "kfac" and settings.get("eigenvalue_correction") else needs


def statistic(config: Mapping[str, Any], backbone: str, label: str, origin: str) -> str:
    """Path of the statistic of the dense backbone that `label` reads, or "" if it reads none.

    Args:
        config: the configuration.
        backbone: architecture.pretraining.
        label: of the criterion.
        origin: ``source/seed_n``; not looked at where no data is read.
    """
    chosen = settings(config, label)
    if CRITERIA[chosen["criterion"]].needs == "none":
        return ""
    folder = f"{backbone}/{origin}" if reads_data(chosen) else backbone
    return f"curvature/{folder}/{estimator(chosen)}.{structure(chosen)}.safetensors"


def task_images(config: Mapping[str, Any], backbone: str, task: str) -> str:
    """Path of a task's images as `backbone` sees them.

    Raises:
        ObtransferError: nobody knows the backbone.
    """
    return f"tasks/{task}/{backbones.view(config, backbone)}.safetensors"


def num_classes(config: Mapping[str, Any], task: str) -> int | None:
    """How many classes a task has; None where only the data set's files tell.

    Args:
        config: the configuration; may be wrong elsewhere.
        task: one of the registry or of `tasks`.
    """
    if task in TASKS:
        return TASKS[task].num_classes
    entry = config["tasks"][task]
    kind = config["datasets"][entry["dataset"]]["kind"]
    every, chosen = DATASETS[kind].num_classes, entry.get("classes", {"draw": CLASSES_DRAWN})
    if isinstance(chosen, Mapping):
        return int(chosen["draw"]) if "classes" in entry or every else None
    return every if isinstance(chosen, str) else len(chosen)


def images_per_class(config: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Images of every class in each split: the task's own numbers over those under `data`."""
    own = config.get("tasks", {}).get(task, {}).get("images_per_class", {})
    return {**config["data"]["images_per_class"], **own}


def rounds(settings: Mapping[str, Any]) -> int:
    """In how many rounds the weights are removed."""
    return int(settings.get("rounds", 1))


def chosen_damping(config: Mapping[str, Any]) -> list[str]:
    """Labels of the one-shot scores that share a damping chosen on the source's validation images, each once."""
    labels = (
        name for name in config["grid"]["criteria"] if settings(config, name).get("damping") == "chosen"
    )
    return list(dict.fromkeys(scored_label(config, label) for label in labels))


def _of_scores(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _OF_THE_MASK}


def _state(config: Mapping[str, Any], point: Point) -> str:
    if point.criterion == DENSE:
        return DENSE
    scored = scoring(config, point.criterion, point.source, point.seed)
    return f"{scored}/{point.allocation}/sparsity_{point.sparsity}"


def _batchnorm(point: Point) -> str:
    return f"recalibrate_{point.source}" if point.batchnorm == "recalibrate" else point.batchnorm


def _batchnorms(config: Mapping[str, Any], backbone: str, wanted: list[str]) -> list[str]:
    """The treatments that mean something: without BatchNorm there is nothing to recalibrate."""
    if not wanted or backbones.architecture(config, backbone).has_batchnorm:
        return wanted
    return ["keep"]
