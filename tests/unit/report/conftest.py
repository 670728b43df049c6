"""Small made-up summaries."""

from collections.abc import Callable, Sequence
from itertools import product

import pandas as pd
import pytest

TASKS = ("upper", "lower", "digits", "hebrew")


def _accuracy(criterion: str, sparsity: float, stage: str, task: str, source: str) -> float:
    steady = {"dense": 1.0, "obs": 0.9, "obd": 0.8, "magnitude": 0.6}.get(criterion, 0.3)
    level = 0.9 - 0.02 * TASKS.index(task) if task in TASKS else 0.85
    tuned = (0.05 if task == source else 0.01) if stage == "finetuned" else 0.0
    return level * steady**sparsity + tuned


def _summary(
    backbones: Sequence[str] = (
        "miniresnet.dino",
        "miniresnet.supervised",
        "minivit.dino",
        "minivit.supervised",
    ),
    *,
    criteria: Sequence[str] = ("magnitude", "obd", "obs", "random"),
    sparsities: Sequence[float] = (0.5, 0.7, 0.9),
    tasks: Sequence[str] = TASKS,
    sources: Sequence[str] = ("upper",),
    allocations: Sequence[str] = ("global",),
    stages: Sequence[str] = ("pruned", "finetuned"),
    batchnorm: Sequence[str] = ("keep", "recalibrate"),
    fit_split: str = "train",
) -> pd.DataFrame:
    models = [("dense", "", 0.0, "dense"), *(("dense", "", 0.0, s) for s in stages if s == "finetuned")]
    models += list(product(criteria, allocations, sparsities, stages))
    rows = []
    for backbone, source, norm, model, task, head in product(
        backbones, sources, batchnorm, models, tasks, ("zero_shot", "probe")
    ):
        architecture, pretraining = backbone.split(".")
        if architecture == "minivit" and norm != "keep":
            continue
        criterion, allocation, sparsity, stage = model
        rows.append(
            {
                "architecture": architecture, "pretraining": pretraining, "source": source, "criterion": criterion,
                "allocation": allocation, "sparsity": sparsity, "seed": 0, "stage": stage, "batchnorm": norm,
                "task": task, "is_source": task == source, "head": head,
                "accuracy": _accuracy(criterion, sparsity, stage, task, source), "loss": 0.1, "num_test": 100,
                "density": 1 - sparsity, "collapsed_layers": 0, "num_classes": 10,
                "fit_split": fit_split if head == "zero_shot" else "train",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def make_summary() -> Callable[..., pd.DataFrame]:
    """A complete summary whose better criteria are, in order, obs, obd, magnitude and all others."""
    return _summary
