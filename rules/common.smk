# What the rules share: the checked configuration, wildcards, and the functions that name inputs and parameters.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "workflow_scripts")))

from obtransfer import grid
from obtransfer.configuration import check
from obtransfer.errors import ObtransferError
from obtransfer.provenance import source_digest
from obtransfer.registry import ALLOCATIONS, BACKBONES, CRITERIA, ESTIMATORS, TASKS

try:
    check(config)
except ObtransferError as error:
    raise WorkflowError(str(error)) from None

RESULTS = Path(config["results"])
NAME = "[a-z][a-z0-9_]*"


wildcard_constraints:
    backbone=f"{NAME}\\.{NAME}",
    task=NAME,
    source=NAME,
    suite=NAME,
    label=NAME,
    seed="[0-9]+",
    estimator=NAME,
    structure="diagonal|block[1-9][0-9]*",
    scoring=f"{NAME}(/{NAME}/seed_[0-9]+|/seed_[0-9]+)?",
    allocation=NAME,
    sparsity="0\\.[0-9]+",
    state=f"dense|{NAME}(/{NAME}/seed_[0-9]+|/seed_[0-9]+)?/{NAME}/sparsity_0\\.[0-9]+",
    batchnorm=f"keep|recalibrate_{NAME}",
    tuning=f"on_{NAME}/seed_[0-9]+",


def weights_of(wildcards):
    """The pre-trained backbone."""
    return RESULTS / f"pretrained/{wildcards.backbone}.safetensors"


def mask_of(wildcards):
    """The state's mask; the dense model has none."""
    if wildcards.state == grid.DENSE:
        return []
    return RESULTS / f"masks/{wildcards.backbone}/{wildcards.state}.safetensors"


def recalibration_task(wildcards):
    """The task whose calibration images renew BatchNorm's statistics, if any do."""
    kind, _, source = wildcards.batchnorm.partition("_")
    return RESULTS / f"tasks/{source}.safetensors" if kind == "recalibrate" else []


def suite_tasks(wildcards):
    """Images of every task of the suite."""
    return [RESULTS / f"tasks/{task}.safetensors" for task in suite(wildcards)]


def suite_heads(wildcards):
    """The dense backbone's head for every task of the suite."""
    folder = RESULTS / f"heads/{wildcards.backbone}"
    return [folder / f"{task}.safetensors" for task in suite(wildcards)]


def suite(wildcards):
    """Names of the suite's tasks."""
    return known(config["suites"], wildcards.suite, "suite")


def known(entries, name, what):
    """The entry called `name`; a name that does not exist is told with those that do."""
    if name not in entries:
        raise WorkflowError(
            f"no {what} is called {name!r}; there are: {', '.join(entries)}"
        )
    return entries[name]


def backbone_entry(wildcards):
    """Address, checksum, conversion and pixel statistics of a backbone's weights."""
    return dict(vars(known(BACKBONES, wildcards.backbone, "backbone")))


def backbone_code(wildcards):
    """Digest of the code that fetches and converts this backbone."""
    return source_digest(
        "download_pretrained", known(BACKBONES, wildcards.backbone, "backbone").convert
    )


def task_loader(wildcards):
    """The function that makes the task's images."""
    return known(TASKS, wildcards.task, "task")


def task_code(wildcards):
    """Digest of the code that makes this task."""
    return source_digest("prepare_task", known(TASKS, wildcards.task, "task"))


def estimator_code(wildcards):
    """Digest of the code that this estimator runs."""
    return source_digest(
        "compute_curvature", known(ESTIMATORS, wildcards.estimator, "estimator")
    )


def scoring_settings(wildcards):
    """The configured settings of the criterion that `scoring` begins with."""
    label = wildcards.scoring.partition("/")[0]
    chosen = grid.settings(config, label)
    known(CRITERIA, chosen["criterion"], "criterion")
    return chosen


def scoring_seed(wildcards):
    """The seed that `scoring` ends with, where it has one."""
    return (
        int(wildcards.scoring.rpartition("seed_")[2])
        if "seed_" in wildcards.scoring
        else 0
    )


def score_function(wildcards):
    """The criterion's function."""
    return CRITERIA[scoring_settings(wildcards)["criterion"]].score


def score_code(wildcards):
    """Digest of the code that this criterion runs."""
    return source_digest("compute_scores", score_function(wildcards))


def score_damping(wildcards):
    """Damping and its mode, for the criteria that have them."""
    chosen = scoring_settings(wildcards)
    return {key: chosen[key] for key in ("damping", "damping_mode") if key in chosen}


def curvature_of(wildcards):
    """The curvature that the criterion reads, if it reads one."""
    label, _, origin = wildcards.scoring.partition("/")
    chosen = scoring_settings(wildcards)
    if CRITERIA[chosen["criterion"]].needs == "none":
        return []
    name = f"{chosen['estimator']}.{grid.structure(config, label)}.safetensors"
    return RESULTS / f"curvature/{wildcards.backbone}/{origin}/{name}"


def allocation_function(wildcards):
    """The function that spreads the sparsity over the layers."""
    return known(ALLOCATIONS, wildcards.allocation, "allocation")


def allocation_code(wildcards):
    """Digest of the code that this allocation runs."""
    return source_digest("compute_mask", allocation_function(wildcards))


def evaluations_of_grid(wildcards):
    """Every evaluation the summary reads, once."""
    paths = {
        grid.evaluation(config, point, name)
        for point in grid.points(config)
        for name in config["suites"]
    }
    return [RESULTS / path for path in sorted(paths)]


def grid_settings(wildcards):
    """The part of the configuration that decides which rows the summary has."""
    return {
        key: config[key]
        for key in ("results", "grid", "criteria", "suites")
        if key in config
    }
