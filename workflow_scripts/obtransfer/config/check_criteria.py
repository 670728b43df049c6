"""Can every criterion be computed for every backbone of the grid?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from obtransfer.config.describe import Path, listed
from obtransfer.criteria.base import Criterion
from obtransfer.errors import ObtransferError
from obtransfer.models import published
from obtransfer.registry import CRITERIA, ESTIMATORS
from obtransfer.settings import Configuration


def computable(raw: Mapping[str, Any], config: Configuration) -> Iterator[tuple[Path, str]]:
    """Criteria that need the gradient of every example are for backbones that show it at every layer."""
    without = [name for name in config.grid.backbones if not _shows_examples(config, name)]
    for index, label in enumerate(config.grid.criteria):
        settings = config.criteria.get(label)
        if settings is None or not without or CRITERIA[settings.criterion].needs == "none":
            continue
        if _needs_examples(CRITERIA[settings.criterion].estimator or settings.estimator or ""):
            problem = f"{label} needs the gradients of single examples, which can't be computed for {listed(without)}"
            yield ("grid", "criteria", index), f"{problem}; possible there: {', '.join(_possible())}"


def _shows_examples(config: Configuration, name: str) -> bool:
    try:
        weights = published.published_weights(config.backbones, name)
    except (ObtransferError, KeyError):  # other checks report it
        return True
    found = published.timm_table()["architectures"].get(weights.architecture.partition(".")[0])
    return found is None or found.get("per_example", True)


def _needs_examples(estimator: str) -> bool:
    return estimator in ESTIMATORS and ESTIMATORS[estimator].makes_vectors


def _possible() -> list[str]:
    """Criteria without the gradients of single examples, with the estimator where others need them."""
    found = []
    for name, criterion in CRITERIA.items():
        if not criterion.attention:
            continue
        every = _estimators(criterion)
        possible = [each for each in every if not _needs_examples(each)]
        if possible and len(possible) < len(every):
            found.append(f"{name} with {' or '.join(possible)}")
        elif possible or not every:
            found.append(name)
    return found


def _estimators(criterion: Criterion) -> list[str]:
    if criterion.needs == "none" or criterion.estimator:
        return [criterion.estimator] if criterion.estimator else []
    return [name for name, entry in ESTIMATORS.items() if criterion.needs in entry.structures]
