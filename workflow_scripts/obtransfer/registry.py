"""The names of all extensions: plain strings, resolved on use, so that building the DAG imports nothing heavy.

The rules read this module and hand each step the entry it needs, or the digest of the code behind it; the module itself
is left out of every digest, so that a new line here reruns nothing that exists.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from obtransfer.declare import Registry

if TYPE_CHECKING:
    from obtransfer.criteria.base import Criterion
    from obtransfer.curvature.estimators.base import Estimator
    from obtransfer.curvature.structures.base import Structure
    from obtransfer.data.pool import DatasetReader
    from obtransfer.data.splits import BuiltInTask
    from obtransfer.models.formats.base import Format
    from obtransfer.report.figures.base import ReportFigure


CRITERIA: Registry[Criterion] = Registry(
    "obtransfer.criteria",
    "CRITERION",
    (
        "magnitude",
        "obd",
        "obs",
        "kfac_obs",
        "snip",
        "grasp",
        "synflow",
        "px",
        "random",
    ),
)

FIGURES: Registry[ReportFigure] = Registry(
    "obtransfer.report.figures",
    "FIGURE",
    (
        "accuracy_zero_shot",
        "accuracy_probe",
        "accuracy_recalibrated",
        "tasks_pruned",
        "tasks_finetuning_change",
    ),
)

STRUCTURES: Registry[Structure] = Registry(
    "obtransfer.curvature.structures",
    "STRUCTURE",
    (
        "diagonal",
        "block",
        "kfac",
        "ekfac",
        "per_weight",
    ),
)

ESTIMATORS: Registry[Estimator] = Registry(
    "obtransfer",
    "ESTIMATOR",
    (
        "curvature.estimators.ggn",
        "curvature.estimators.mc_fisher",
        "curvature.estimators.empirical_fisher",
        "curvature.estimators.hessian",
        "criteria.statistics.gradient",
        "criteria.statistics.hessian_gradient",
        "criteria.statistics.synflow",
        "criteria.statistics.px",
    ),
)

LOSSES: dict[str, str] = {
    "squared_error": "obtransfer.curvature.losses:squared_error",
    "cross_entropy": "obtransfer.curvature.losses:cross_entropy",
}

ALLOCATIONS: dict[str, str] = {
    "global": "obtransfer.masks.allocation:global_",
    "uniform": "obtransfer.masks.allocation:uniform",
    "erk": "obtransfer.masks.erk:erk",
    "n_of_4": "obtransfer.masks.n_of_m:n_of_4",
    "n_of_8": "obtransfer.masks.n_of_m:n_of_8",
    "n_of_16": "obtransfer.masks.n_of_m:n_of_16",
}

TASKS: Registry[BuiltInTask] = Registry(
    "obtransfer.data",
    "TASK",
    (
        "glyphs:upper",
        "glyphs:lower",
        "glyphs:digits",
        "glyphs:greek",
        "glyphs:cyrillic",
        "glyphs:armenian",
        "glyphs:georgian",
        "glyphs:arrows",
        "glyphs:math",
        "glyphs:symbols",
        "glyphs:hebrew",
        "glyphs:shapes",
        "digits:handwritten",
    ),
)

DATASETS: Registry[DatasetReader] = Registry(
    "obtransfer.data",
    "DATASET",
    (
        "image_folder",
        "imagenet",
        "torchvision_sets:cifar10",
        "torchvision_sets:cifar100",
        "torchvision_sets:dtd",
        "torchvision_sets:eurosat",
        "torchvision_sets:gtsrb",
        "torchvision_sets:svhn",
        "torchvision_sets:food101",
        "torchvision_sets:pets",
        "torchvision_sets:aircraft",
        "torchvision_sets:flowers102",
        "torchvision_sets:sun397",
        "torchvision_sets:mnist",
    ),
)

FORMATS: Registry[Format] = Registry(
    "obtransfer.models.formats",
    "FORMAT",
    (
        "timm_hub",
        "torchvision",
        "mocov2",
        "mocov3",
        "dino",
        "local",
        "mini",
    ),
)


def resolve(name: str) -> Any:
    """Import ``"package.module:attribute"`` and return the attribute."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
