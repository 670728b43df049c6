"""Which models the configuration's `export` names, and where they go. Nothing heavy: the rules read this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from obtransfer.dag import grid

FEATURES = "features"
FORMS = (FEATURES, "zero_shot", "probe")
"""What comes out of an exported model: features, or the logits of a head that the summary knows by this name."""

_AXES = {
    "backbones": "backbone",
    "sources": "source",
    "criteria": "criterion",
    "allocations": "allocation",
    "sparsities": "sparsity",
    "batchnorm": "batchnorm",
    "seeds": "seed",
    "stages": "stage",
}
_STAGES = ["pruned", "finetuned"]


def targets(config: Mapping[str, Any]) -> list[str]:
    """Folders, below the results', of the models that `export` names; none where it is not configured.

    They are the points of the grid whose backbone, criterion, ... is listed; a key that is missing leaves out
    nothing. The dense model, fine-tuned or not, is exported where `criteria` has ``dense``.
    """
    wanted = config.get("export")
    if wanted is None:
        return []
    found = {
        f"{_folder(config, point)}/{form if form == FEATURES else f'{form}_{point.source}'}"
        for point in grid.points(config)
        if _is_wanted(point, wanted)
        for form in wanted.get("forms", [FEATURES])
    }
    return sorted(found)


def problems(config: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot say of `export`: everything it names is in the grid."""
    wanted, of_grid = config.get("export"), config.get("grid")
    if not isinstance(wanted, Mapping) or not isinstance(of_grid, Mapping):
        return
    for axis in _AXES:
        named, there = wanted.get(axis, []), of_grid.get(axis)
        if not isinstance(named, list) or not isinstance(there, list):
            continue
        known = [str(value) for value in [*there, *([grid.DENSE] if axis == "criteria" else [])]]
        for index, value in enumerate(named):
            if str(value) not in known:
                yield f"export.{axis}[{index}]: {value} is not in grid.{axis}: {', '.join(known)}; add it there"
    stages = wanted.get("stages", [])
    if isinstance(stages, list) and "finetuned" in stages and not of_grid.get("finetune"):
        yield "export.stages: nothing is fine-tuned, since grid.finetune is empty; remove finetuned or add to the grid"


def _is_wanted(point: grid.Point, wanted: Mapping[str, Any]) -> bool:
    return all(_allows(axis, getattr(point, field), point, wanted) for axis, field in _AXES.items())


def _allows(axis: str, value: Any, point: grid.Point, wanted: Mapping[str, Any]) -> bool:
    if point.criterion == grid.DENSE:
        if axis == "criteria":
            return grid.DENSE in wanted.get("criteria", [])
        if axis in ("allocations", "sparsities"):
            return True
        if axis == "stages" and value == grid.DENSE:
            return "pruned" in wanted.get("stages", _STAGES)
    if axis not in wanted:
        return True
    if axis == "sparsities":
        return value in [grid.decimal(sparsity) for sparsity in wanted[axis]]
    return value in wanted[axis]


def _folder(config: Mapping[str, Any], point: grid.Point) -> PurePosixPath:
    """The folder of the point's evaluations, among the exports."""
    evaluation = PurePosixPath(grid.evaluation(config, point, "any"))
    return PurePosixPath("exports", *evaluation.parent.parts[1:])
