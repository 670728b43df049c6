"""A mask: which weights stay, and the values that they take where the survivors are updated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from obtransfer.artifacts import Arrays, Artifact
from obtransfer.masks.packing import pack, unpack

Kept = Mapping[str, npt.NDArray[np.bool_]]
"""Parameter names to bool arrays, True = keep."""
_UPDATE = "update:"


@dataclass(frozen=True)
class Mask:
    """What remains of a network's prunable weights.

    Attributes:
        kept: name to bool array of the weight's shape, True = keep.
        updated: name to all new values of the weight, 0 where removed (`masks.update`); empty without an update.
    """

    kept: Kept
    updated: Arrays = field(default_factory=dict)

    @classmethod
    def of(cls, artifact: Artifact) -> Mask:
        """From a "mask" artefact, which holds `tensors` and, in its metadata, `shapes`. Layers are sorted by name.

        Raises:
            ObtransferError: arrays that do not have the shapes.
        """
        shapes = artifact.metadata["shapes"]
        kept = unpack({name: artifact.tensors[name] for name in shapes}, shapes)
        updated = {n.removeprefix(_UPDATE): a for n, a in artifact.tensors.items() if n.startswith(_UPDATE)}
        return cls(kept, updated)

    def tensors(self) -> dict[str, np.ndarray]:
        """As an artefact holds it: ``name``, one bit a weight, and ``update:name``, the updated weight."""
        return pack(self.kept) | {_UPDATE + name: array for name, array in self.updated.items()}

    def shapes(self) -> dict[str, list[int]]:
        """The shape of every weight."""
        return {name: list(layer.shape) for name, layer in self.kept.items()}

    @property
    def num_weights(self) -> int:
        """The number of prunable weights, kept or removed."""
        return sum(layer.size for layer in self.kept.values())

    @property
    def num_removed(self) -> int:
        """The number of removed weights."""
        return self.num_weights - sum(int(np.count_nonzero(layer)) for layer in self.kept.values())

    @property
    def density(self) -> float:
        """The kept fraction of the prunable weights, in [0, 1]."""
        return (self.num_weights - self.num_removed) / self.num_weights

    def density_by_layer(self) -> dict[str, float]:
        """The kept fraction of every layer's weights, in [0, 1]."""
        return {name: int(np.count_nonzero(layer)) / layer.size for name, layer in self.kept.items()}

    def collapsed_layers(self) -> list[str]:
        """Layers without any weight: nothing of their input passes, unless a skip connection leads around them."""
        return [name for name, layer in self.kept.items() if not layer.any()]

    def layer_rows(self) -> list[dict[str, str | int | float]]:
        """A table with a row for each layer, in the order of `kept`.

        Columns: layer, num_weights, num_removed, sparsity (removed fraction), collapsed (1 without any weight,
        else 0).
        """
        rows: list[dict[str, str | int | float]] = []
        for name, layer in self.kept.items():
            removed = layer.size - int(np.count_nonzero(layer))
            rows.append(
                {
                    "layer": name,
                    "num_weights": layer.size,
                    "num_removed": removed,
                    "sparsity": removed / layer.size,
                    "collapsed": int(removed == layer.size),
                }
            )
        return rows
