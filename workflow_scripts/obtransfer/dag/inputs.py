"""The files that the jobs of every rule read: Snakemake's input functions, as methods of the checked configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from obtransfer.curvature.structures.base import parse
from obtransfer.dag import grid, paths
from obtransfer.dag.paths import BatchNorm, Form, Model, Scoring, Statistic
from obtransfer.errors import ObtransferError
from obtransfer.models import published
from obtransfer.registry import CRITERIA, ESTIMATORS, STRUCTURES
from obtransfer.settings import Configuration, Label

Wildcards = Any
"""Snakemake's wildcards of a job: text, by attribute."""
Files = str | Sequence[str]
"""A path, or several; none where a job of the rule needs no such file."""
T = TypeVar("T")
NONE: tuple[str, ...] = ()


def known(entries: Mapping[str, T], name: str, what: str) -> T:
    """The entry called `name`.

    Raises:
        ObtransferError: no such entry; lists those that exist.
    """
    if name not in entries:
        raise ObtransferError(f"no {what} is called {name!r}; there are: {', '.join(entries) or 'none'}")
    return entries[name]


class Inputs:
    """Every method takes a job's wildcards and returns paths; all are below the folder of results."""

    def __init__(self, config: Configuration) -> None:
        self.config = config

    def weights(self, job: Wildcards) -> str:
        """The pre-trained backbone."""
        return self._path(paths.PRETRAINED, backbone=job.backbone)

    def mask(self, job: Wildcards) -> Files:
        """The state's mask; the dense model has none."""
        model = Model.of(job)
        return self._below(model.mask) if model.state.scoring else NONE

    def recalibration(self, job: Wildcards) -> Files:
        """Images for the recalibration of BatchNorm, if there is one."""
        source = BatchNorm.parse(job.batchnorm).source
        return self.images(job.backbone, source) if source else NONE

    def images(self, backbone: str, task: str) -> str:
        """A task's images as a backbone sees them."""
        view = published.view(self.config.backbones, backbone)
        return self._path(paths.TASK_IMAGES, task=task, view=view)

    def task_images(self, job: Wildcards) -> str:
        """Images of the task."""
        return self.images(job.backbone, job.task)

    def source_images(self, job: Wildcards) -> str:
        """Images of the source."""
        return self.images(job.backbone, job.source)

    def suite_images(self, job: Wildcards) -> list[str]:
        """Images of every task of the suite."""
        return [self.images(job.backbone, task) for task in known(self.config.suites, job.suite, "suite")]

    def suite_heads(self, job: Wildcards) -> list[str]:
        """The dense backbone's head for every task of the suite."""
        return [self._head(job.backbone, task) for task in known(self.config.suites, job.suite, "suite")]

    def downloaded(self, job: Wildcards) -> Files:
        """The table of what a data set holds, where it has to be downloaded first."""
        name = self.config.tasks[job.task].dataset
        return self._path(paths.DATASET, dataset=name) if self.config.datasets[name].download else NONE

    def source_head(self, job: Wildcards) -> str:
        """The dense backbone's head for the source."""
        return self._head(job.backbone, job.source)

    def prior(self, job: Wildcards) -> Files:
        """The statistic of the dense backbone that this one builds on, if it builds on one."""
        name = self._prior(job)
        if not name:
            return NONE
        estimator, _, structure = name.partition(".")
        return self._below(Statistic(job.backbone, estimator, structure, job.source, job.seed))

    def shares(self, job: Wildcards) -> list[str]:
        """The shares of the calibration images that are merged."""
        shares = self.config.curvature.shares
        return [self._path(paths.SHARE, **job, share=number + 1, shares=shares) for number in range(shares)]

    def scoring_images(self, job: Wildcards) -> Files:
        """Images of the scoring's source, where the criterion reads any."""
        source = Scoring.parse(job.scoring).source
        return self.images(job.backbone, source) if source else NONE

    def scoring_head(self, job: Wildcards) -> Files:
        """The dense backbone's head for the scoring's source, where the criterion reads images."""
        source = Scoring.parse(job.scoring).source
        return self._head(job.backbone, source) if source else NONE

    def curvature(self, job: Wildcards) -> Files:
        """The statistic of the dense backbone that the criterion reads, if it reads one."""
        scoring = Scoring.parse(job.scoring)
        statistic = self.statistic(job.backbone, scoring.label, scoring.source, scoring.seed)
        return self._below(statistic) if statistic else NONE

    def damping(self, job: Wildcards) -> Files:
        """The table with the damping chosen on the source's validation images, where the label asks for it."""
        scoring = Scoring.parse(job.scoring)
        if not grid.has_chosen_damping(self.label(scoring)):
            return NONE
        return self._path(paths.DAMPING, backbone=job.backbone, source=scoring.source, seed=scoring.seed)

    def damped_statistics(self, job: Wildcards) -> list[str]:
        """What the criteria whose damping is chosen read, in the order of `grid.chosen_damping`."""
        labels = grid.chosen_damping(self.config)
        found = (self.statistic(job.backbone, label, job.source, job.seed) for label in labels)
        return [self._below(statistic) for statistic in found if statistic]

    def mask_of_round_before(self, job: Wildcards) -> str:
        """The mask that a round begins with."""
        return self._path(paths.ROUND_MASK, **{**job, "round": int(job.round) - 1})

    def statistic_of_round(self, job: Wildcards) -> Files:
        """The statistic of the masked model that the criterion reads in this round, if it reads one."""
        scoring = Scoring.parse(job.scoring)
        found = self.statistic(job.backbone, scoring.label, scoring.source, scoring.seed)
        if not found:
            return NONE
        return self._path(paths.ROUND_STATISTIC, **job, estimator=found.estimator, structure=found.structure)

    def prior_of_round(self, job: Wildcards) -> Files:
        """The statistic of the same round that this one builds on, if it builds on one."""
        name = self._prior(job)
        return self._path(f"{paths.ROUND}/{name}.safetensors", **job) if name else NONE

    def scores_of_round(self, job: Wildcards) -> str:
        """The scores from which a round's mask is made."""
        return self._scores_after(job, int(job.round))

    def scores_of_mask(self, job: Wildcards) -> str:
        """The scores of the last round."""
        rounds = self.label(Scoring.parse(job.scoring)).rounds
        if rounds > grid.MAX_ROUNDS_AS_JOBS:
            return self._path(paths.LAST_SCORES, **job)
        return self._scores_after(job, rounds)

    def weights_to_update(self, job: Wildcards) -> Files:
        """The dense weights, where surviving weights compensate for removed ones."""
        return self.weights(job) if self.label(Scoring.parse(job.scoring)).update else NONE

    def curvature_to_update(self, job: Wildcards) -> Files:
        """The blocks, where surviving weights compensate for removed ones."""
        return self.curvature(job) if self.label(Scoring.parse(job.scoring)).update else NONE

    def finetuned(self, job: Wildcards) -> str:
        """The fine-tuned backbone."""
        return self._path(paths.FINETUNED_MODEL, **job)

    def evaluations_of_grid(self, job: Wildcards) -> list[str]:
        """Every evaluation that the summary reads, once."""
        return sorted({self._below(path) for _, path in grid.evaluations(self.config)})

    def exports_of_grid(self, job: Wildcards) -> list[str]:
        """The card of every model that `export` names."""
        return [self._below(f"{export}/card.md") for export in grid.exports(self.config)]

    def export_images(self, job: Wildcards) -> str:
        """Images of the task that an export is checked on."""
        return self.images(job.backbone, self._export_task(job))

    def export_head(self, job: Wildcards) -> str:
        """The dense backbone's head for the task that an export is checked on."""
        return self._head(job.backbone, self._export_task(job))

    def export_evaluations(self, job: Wildcards) -> list[str]:
        """Accuracies of the exported model on every suite."""
        return [self._below(Model.of(job).evaluation(suite)) for suite in self.config.suites]

    def dense_evaluations(self, job: Wildcards) -> list[str]:
        """Accuracies of the dense backbone on every suite."""
        return [self._below(Model(job.backbone).evaluation(suite)) for suite in self.config.suites]

    def label(self, scoring: Scoring) -> Label:
        """The settings of the label that a scoring begins with."""
        return known(self.config.criteria, scoring.label, "criterion or label")

    def statistic(self, backbone: str, label: str, source: str, seed: int | None) -> Statistic | None:
        """The statistic of the dense backbone that a label reads, if it reads one."""
        settings = known(self.config.criteria, label, "criterion or label")
        needs = CRITERIA[settings.criterion].needs
        if needs == "none":
            return None
        word = STRUCTURES[needs].word(settings.structure_options)
        origin = (source, seed) if grid.reads_data(settings) else ("", None)
        return Statistic(backbone, grid.estimator(settings), word, *origin)

    def _scores_after(self, job: Wildcards, number: int) -> str:
        """Scores of round `number`; those of round 1 are the one-shot scores."""
        if number > 1:
            return self._path(paths.ROUND_SCORES, **{**job, "round": number})
        scoring = Scoring.parse(job.scoring)
        shared = Scoring(grid.scored_label(self.config, scoring.label), scoring.source, scoring.seed)
        return self._path(paths.SCORES, backbone=job.backbone, scoring=shared)

    def _prior(self, job: Wildcards) -> str:
        """estimator.structure of the statistic that this one builds on; empty if there is none."""
        name, _ = parse(job.structure)
        prior = STRUCTURES[name].prior
        return f"{job.estimator}.{prior}" if prior else known(ESTIMATORS, job.estimator, "estimator").prior

    def _export_task(self, job: Wildcards) -> str:
        """Its head's task, else the source of the model's last step, else the grid's first source."""
        model = Model.of(job)
        named = [
            Form.parse(job.form).task,
            model.tuning.source if model.tuning else "",
            model.batchnorm.source,
            model.state.scoring.source if model.state.scoring else "",
        ]
        return next(filter(None, named), self.config.grid.sources[0])

    def _head(self, backbone: str, task: str) -> str:
        return self._path(paths.HEAD, backbone=backbone, task=task)

    def _path(self, template: str, **fields: Any) -> str:
        return self._below(template.format(**fields))

    def _below(self, path: object) -> str:
        return paths.below(self.config.results, path)
