"""The points of a configuration's grid: every model that the summary reports, with its controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from obtransfer.config.labels import CHOSEN, DENSE
from obtransfer.dag.paths import BatchNorm, Export, Form, Model, Scoring, State, Tuning, decimal
from obtransfer.models.published import architecture
from obtransfer.registry import CRITERIA, ESTIMATORS
from obtransfer.settings import Configuration, Label

MAX_ROUNDS_AS_JOBS = 10
"""More rounds are one job."""


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


def points(config: Configuration) -> Iterator[Point]:
    """Every model the summary reports: dense, pruned and, if asked for, fine-tuned."""
    grid = config.grid
    for backbone, source, seed in product(grid.backbones, grid.sources, grid.seeds):
        tuned = _batchnorms(config, backbone, grid.finetune)
        for batchnorm in _batchnorms(config, backbone, grid.batchnorm):
            stages = ("pruned", "finetuned") if batchnorm in tuned else ("pruned",)
            for stage in stages:
                dense = DENSE if stage == "pruned" else stage
                yield Point(backbone, source, DENSE, "", "0", seed, dense, batchnorm)
            for criterion, allocation, sparsity, stage in product(
                grid.criteria, grid.allocations, map(decimal, grid.sparsities), stages
            ):
                yield Point(backbone, source, criterion, allocation, sparsity, seed, stage, batchnorm)


def model(config: Configuration, point: Point) -> Model:
    """The model of a point; points that differ in what their model does not depend on share it."""
    state = State()
    if point.criterion != DENSE:
        scored = scoring(config.criteria[point.criterion], point.criterion, point.source, point.seed)
        state = State(scored, point.allocation, point.sparsity)
    batchnorm = BatchNorm(point.source if point.batchnorm == "recalibrate" else "")
    tuning = Tuning(point.source, point.seed) if point.stage == "finetuned" else None
    return Model(point.backbone, state, batchnorm, tuning)


def evaluations(config: Configuration) -> list[tuple[Point, str]]:
    """Every row of the grid: a point, and the path of its accuracies on one suite."""
    return [
        (point, model(config, point).evaluation(suite)) for point in points(config) for suite in config.suites
    ]


def scoring(settings: Label, label: str, source: str, seed: int) -> Scoring:
    """What the scores of a label depend on."""
    if reads_data(settings):
        return Scoring(label, source, seed)
    return Scoring(label, seed=seed if CRITERIA[settings.criterion].seeded else None)


def reads_data(settings: Label) -> bool:
    """Whether the criterion needs a statistic of the source's images."""
    return CRITERIA[settings.criterion].needs != "none" and ESTIMATORS[estimator(settings)].data


def estimator(settings: Label) -> str:
    """The estimator that a criterion reads: its own, or the configured one."""
    return CRITERIA[settings.criterion].estimator or settings.estimator or ""


def scored_label(config: Configuration, label: str) -> str:
    """The label that names one-shot scores: labels that differ only in the mask's settings share them."""
    wanted = _of_scores(config.criteria[label])
    return next(name for name, settings in config.criteria.items() if _of_scores(settings) == wanted)


def chosen_damping(config: Configuration) -> list[str]:
    """Labels of the one-shot scores that share a damping chosen on the source's validation images, each once."""
    labels = (name for name in config.grid.criteria if has_chosen_damping(config.criteria[name]))
    return list(dict.fromkeys(scored_label(config, label) for label in labels))


def has_chosen_damping(settings: Label) -> bool:
    """Whether the damping is chosen on the source's validation images."""
    return settings.options.get("damping") == CHOSEN


def exports(config: Configuration) -> list[Export]:
    """The models that `export` names: the points of the grid that all its lists have.

    The dense model, fine-tuned or not, is exported where `criteria` has ``dense``.
    """
    if config.export is None:
        return []
    found = {
        Export(model(config, point), Form(kind, "" if kind == "features" else point.source))
        for point in points(config)
        if _is_exported(config, point)
        for kind in config.export.forms
    }
    return sorted(found, key=str)


def _is_exported(config: Configuration, point: Point) -> bool:
    wanted = config.export
    assert wanted is not None  # the caller has checked
    sparsities = None if wanted.sparsities is None else [decimal(sparsity) for sparsity in wanted.sparsities]
    allowed = [
        _has(wanted.backbones, point.backbone),
        _has(wanted.sources, point.source),
        _has(wanted.batchnorm, point.batchnorm),
        _has(wanted.seeds, point.seed),
        ("finetuned" if point.stage == "finetuned" else "pruned") in wanted.stages,
    ]
    if point.criterion == DENSE:
        return all(allowed) and DENSE in (wanted.criteria or ())
    return all(allowed) and all(
        (
            _has(wanted.criteria, point.criterion),
            _has(wanted.allocations, point.allocation),
            _has(sparsities, point.sparsity),
        )
    )


def _has(listed: Sequence[Any] | None, value: Any) -> bool:
    """Whether a list has the value; a list that is left out has every value."""
    return listed is None or value in listed


def _of_scores(settings: Label) -> tuple[Any, ...]:
    """What one-shot scores depend on; rounds, schedule and update belong to the mask."""
    return settings.criterion, settings.estimator, dict(settings.options), dict(settings.structure_options)


def _batchnorms(config: Configuration, backbone: str, wanted: Sequence[str]) -> Sequence[str]:
    """The treatments that mean something: without BatchNorm there is nothing to recalibrate."""
    if not wanted or architecture(config.backbones, backbone).has_batchnorm:
        return wanted
    return ("keep",)
