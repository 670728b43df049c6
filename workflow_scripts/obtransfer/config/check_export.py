"""Does `export` name points of the grid?"""

from __future__ import annotations

from obtransfer.config.describe import listed
from obtransfer.config.entry import Found, Raw
from obtransfer.config.labels import DENSE
from obtransfer.settings import Configuration

_AXES = ("backbones", "sources", "criteria", "allocations", "sparsities", "batchnorm", "seeds")


def export(raw: Raw, config: Configuration) -> Found:
    """Everything that `export` names is in the grid."""
    wanted = config.export
    if wanted is None:
        return
    for axis in _AXES:
        known = [*getattr(config.grid, axis), *([DENSE] if axis == "criteria" else [])]
        for index, value in enumerate(getattr(wanted, axis) or ()):
            if value not in known:
                yield ("export", axis, index), f"{value} is not in grid.{axis}: {listed(known)}; add it there"
    if "finetuned" in raw["export"].get("stages", ()) and not config.grid.finetune:
        yield (
            ("export", "stages"),
            "nothing is fine-tuned, since grid.finetune is empty; remove finetuned or add to the grid",
        )
