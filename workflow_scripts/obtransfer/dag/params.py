"""The parameters of the jobs of every rule: Snakemake's parameter functions, as methods of the checked configuration.

A job gets only parameters that its result depends on, because Snakemake reruns it when one changes. `*_code` methods give
the digest of the code behind a name, so that an edited function reruns the rules that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from obtransfer.config import tasks
from obtransfer.config.labels import CHOSEN
from obtransfer.curvature.structures.base import parse
from obtransfer.dag import grid, schedule
from obtransfer.dag.inputs import Inputs, Wildcards, known
from obtransfer.dag.paths import Model, Scoring
from obtransfer.models import published
from obtransfer.registry import ALLOCATIONS, CRITERIA, DATASETS, ESTIMATORS, FORMATS, STRUCTURES, TASKS
from obtransfer.runtime.provenance import code_digest
from obtransfer.settings import Label

ON_DISK = "obtransfer.data.on_disk"
Settings = dict[str, Any]
"""Plain values by name, as a job's parameters."""


class Params:
    """Every method takes a job's wildcards."""

    def __init__(self, inputs: Inputs) -> None:
        self.config = inputs.config
        self.inputs = inputs

    def backbone(self, job: Wildcards) -> Settings:
        """Where the backbone's weights come from, and the pixels they were trained on."""
        return asdict(published.published_weights(self.config.backbones, job.backbone))

    def file_of_backbone(self, job: Wildcards) -> list[int]:
        """Size and modification time of a local weight file, so that a replaced file is read again; empty for others."""
        file = published.local_file(published.published_weights(self.config.backbones, job.backbone))
        found = file.stat() if file and file.is_file() else None
        return [found.st_size, found.st_mtime_ns] if found else []

    def fetching(self, job: Wildcards, output: Any) -> Settings:
        """How weights are fetched. Snakemake does not compare what takes `output`, and no result depends on it."""
        return asdict(self.config.weights)

    def backbone_code(self, job: Wildcards) -> str:
        """Digest of the code that fetches and converts this backbone."""
        return code_digest("download_pretrained", FORMATS.module(self.backbone(job)["format"]))

    def task_data(self, job: Wildcards) -> Settings:
        """The seed, and how many images every class has."""
        counts = tasks.images_per_class(self.config, job.task)
        return {"seed": self.config.data.seed, "images_per_class": counts}

    def task_settings(self, job: Wildcards) -> Settings:
        """What else a task from a data set depends on; empty for other tasks."""
        if job.task not in self.config.tasks:
            return {}
        task = self.config.tasks[job.task]
        dataset = self.config.datasets[task.dataset]
        return {
            "dataset": asdict(dataset),
            "classes": asdict(task)["classes"],
            "max_corrupt": self.config.data.max_corrupt,
            "background": self.config.data.background,
        }

    def task_code(self, job: Wildcards) -> str:
        """Digest of the code that makes this task."""
        settings = self.task_settings(job)
        if settings:
            return code_digest("prepare_task", ON_DISK, DATASETS.module(settings["dataset"]["kind"]))
        known(TASKS, job.task, "task")
        return code_digest("prepare_task", TASKS.module(job.task))

    def dataset(self, job: Wildcards) -> Settings:
        """The data set's kind and folder."""
        return asdict(known(self.config.datasets, job.dataset, "data set"))

    def dataset_code(self, job: Wildcards) -> str:
        """Digest of the code that reads this data set."""
        return code_digest("download_dataset", DATASETS.module(self.dataset(job)["kind"]))

    def estimator_code(self, job: Wildcards) -> str:
        """Digest of the code that this estimator and this structure run."""
        known(ESTIMATORS, job.estimator, "estimator")
        return code_digest("compute_curvature", *_code_of_statistic(job.estimator, job.structure))

    def merging_code(self, job: Wildcards) -> str:
        """Digest of the code that merges shares of this structure."""
        return code_digest("merge_shares", STRUCTURES.module(parse(job.structure)[0]))

    def statistic_settings(self, job: Wildcards) -> Settings:
        """The settings of curvature that this estimator reads."""
        return self._settings_of_statistic(job.estimator)

    def share(self, job: Wildcards) -> list[int]:
        """Which share of the calibration images a job reads, and of how many."""
        return [int(job.share), int(job.shares)]

    def seed_of_scoring(self, job: Wildcards) -> int:
        """The seed that `scoring` ends with, where it has one."""
        return Scoring.parse(job.scoring).seed or 0

    def criterion(self, job: Wildcards) -> str:
        """The criterion's name."""
        return self._label(job).criterion

    def criterion_options(self, job: Wildcards) -> Settings:
        """The settings that the criterion declares."""
        return _options(self._label(job))

    def criterion_code(self, job: Wildcards) -> str:
        """Digest of the code that this criterion runs."""
        return code_digest("compute_scores", CRITERIA.module(self.criterion(job)))

    def damped_labels(self, job: Wildcards) -> Settings:
        """Labels whose damping is chosen, with the criterion and its other settings."""
        labels = {name: self.config.criteria[name] for name in grid.chosen_damping(self.config)}
        return {
            name: {"criterion": label.criterion, "options": _options(label)} for name, label in labels.items()
        }

    def damping_choice(self, job: Wildcards) -> Settings:
        """The candidates, and the sparsities at which they are tried."""
        return asdict(self.config.damping_choice) if self.config.damping_choice else {}

    def damping_code(self, job: Wildcards) -> str:
        """Digest of the code that chooses a damping."""
        modules = [CRITERIA.module(label["criterion"]) for label in self.damped_labels(job).values()]
        return code_digest("choose_damping", *modules, ALLOCATIONS["global"])

    def sparsities_of_rounds(self, job: Wildcards) -> list[str]:
        """The sparsity after every round."""
        label = self._label(job)
        return schedule.sparsities(job.sparsity, label.rounds, label.schedule)

    def sparsity_of_round(self, job: Wildcards) -> str:
        """The sparsity after this round."""
        return self.sparsities_of_rounds(job)[int(job.round) - 1]

    def statistic_in_rounds(self, job: Wildcards) -> Settings:
        """Estimator, structure and settings of the statistic that pruning in rounds computes; empty for none."""
        label = self._label(job)
        needs = CRITERIA[label.criterion].needs
        if needs == "none":
            return {}
        estimator = grid.estimator(label)
        return {
            "estimator": estimator,
            "structure": STRUCTURES[needs].word(label.structure_options),
            "settings": self._settings_of_statistic(estimator),
        }

    def rounds_code(self, job: Wildcards) -> str:
        """Digest of the code that pruning in rounds runs."""
        label = self._label(job)
        modules = [CRITERIA.module(label.criterion), known(ALLOCATIONS, job.allocation, "allocation")]
        if CRITERIA[label.criterion].needs != "none":
            statistic = self.statistic_in_rounds(job)
            modules += _code_of_statistic(statistic["estimator"], statistic["structure"])
        return code_digest("score_in_rounds", *modules)

    def allocation_code(self, job: Wildcards) -> str:
        """Digest of the code that this allocation runs."""
        return code_digest("compute_mask", known(ALLOCATIONS, job.allocation, "allocation"))

    def points(self, job: Wildcards) -> list[list[Any]]:
        """The rows of the summary: identifying columns of a model, and the path of its accuracies below the results."""
        return [[asdict(point), path] for point, path in grid.evaluations(self.config)]

    def export_history(self, job: Wildcards) -> Settings:
        """How the exported model was made, for its card."""
        model = Model.of(job)
        label = self.inputs.label(model.state.scoring) if model.state.scoring else None
        return {
            "state": str(model.state),
            "batchnorm": str(model.batchnorm),
            "tuning": str(model.tuning or ""),
            "finetuned": model.tuning is not None,
            "criterion": _as_written(label) if label else {},
            "updated": bool(label and label.update),
            "settings": asdict(self.config.finetune) if model.tuning else {},
        }

    def _label(self, job: Wildcards) -> Label:
        return self.inputs.label(Scoring.parse(job.scoring))

    def _settings_of_statistic(self, estimator: str) -> Settings:
        found = self.config.curvature
        declared = known(ESTIMATORS, estimator, "estimator").settings
        own = {
            "num_examples": found.num_examples,
            "batch_size": found.batch_size,
            "memory_gb": found.memory_gb,
        }
        return own | {name: found.options[name] for name in declared}


def _code_of_statistic(estimator: str, structure: str) -> list[str]:
    """The modules behind an estimator and the word of a structure, which no module imports by name."""
    return [ESTIMATORS.module(estimator), STRUCTURES.module(parse(structure)[0])]


def _options(label: Label) -> Settings:
    """The criterion's settings, without a damping that is chosen elsewhere."""
    return {name: value for name, value in label.options.items() if value != CHOSEN}


def _as_written(label: Label) -> Settings:
    """A label as the configuration writes it, without the keys that are not set."""
    own: Mapping[str, Any] = asdict(label)
    flat = {**own, **own["structure_options"], **own["options"]}
    return {
        key: flat[key]
        for key in flat
        if key not in ("options", "structure_options") and flat[key] is not None
    }
