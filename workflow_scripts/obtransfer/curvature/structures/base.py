"""What a structure is: the part of each layer's matrix that a statistic keeps, and all that depends on the choice.

A structure's file contains all code that is specific to it. Nothing here imports torch, so that building the DAG stays quick.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.declare import Setting, settings_of
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.curvature.per_example.operands import Operands

Shape = tuple[int, ...]


class LayerShape(NamedTuple):
    """A weight [G · O, I, kh, kw] or [O, I] as G matrices [O, I · kh · kw]."""

    weight: Shape
    groups: int
    outputs: int
    inputs: int


class Accumulator(Protocol):
    """The tensors of one layer: sums over examples, apart from the structure's `constant` ones."""

    def prepare(self, activations: Tensor) -> Tensor:
        """What `add` gets in place of the activations [B, G, I, L]; kept for all vectors of a batch."""

    def add(self, operands: Operands, vector: int) -> None:
        """Add a batch's examples, for the vector of this position among the batch's."""


@dataclass(frozen=True)
class Sum:
    """One tensor per layer, and a function that adds the operands of a batch to it."""

    total: Tensor
    function: Callable[[Tensor, Operands], None]

    def prepare(self, activations: Tensor) -> Tensor:
        """Unchanged."""
        return activations

    def add(self, operands: Operands, vector: int) -> None:
        """All vectors alike."""
        self.function(self.total, operands)


def _no_letters(layers: Mapping[str, LayerShape]) -> dict[str, dict[str, int]]:
    return {name: {} for name in layers}


def _by_groups(weight: Shape, found: Shape) -> dict[str, object]:
    """The number of groups is the first axis of what was found, if it divides the outputs."""
    if len(weight) < 2:
        return dict.fromkeys("GOI", f"of a weight with outputs and inputs, not one of shape {list(weight)}")
    inputs = prod(weight[1:])
    if found and found[0] > 0 and weight[0] % found[0] == 0:
        return {"G": found[0], "O": weight[0] // found[0], "I": inputs}
    return {"G": "G", "O": f"{weight[0]} / G", "I": inputs}


def _as_they_are(statistics: Arrays, mask: Arrays) -> dict[str, np.ndarray]:
    return dict(statistics)


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        name: in `obtransfer.registry.STRUCTURES`, and in paths unless `spell` says otherwise.
        axes: what follows a parameter's name in the keys of a statistic -> one letter for each axis of the array under
            that key: G groups, each with O outputs and I inputs, or letters of `sizes`. "" where the array has the
            parameter's own shape.
        sizes: layers' shapes, and the settings as keywords -> layer -> letter -> size, for letters beyond these three.
        expected: shape of a weight, shape of the first array found for it -> letter -> the size that fits, or text where
            none does. Files know neither block size nor groups; they are read off the arrays.
        start: zeros by key (`constant` ones: filled) -> what adds examples to them; None where a structure is not made of
            per-example gradients of single layers.
        constant: keys of arrays that are no means over examples: equal in all shares, and filled at the start.
        fill: (tensors of a layer, its name, the prior statistic) writes the constant ones.
        inputs_once: whether activations are read with the first vector of a batch only.
        prior: the structure's word of the statistic, by the same estimator, that must be there first.
        restrict: (statistic, mask) -> the statistic with the removed weights held at zero.
        spell: the settings as keywords -> the word in paths. Its keyword-only parameters are the settings.
        pattern: a regular expression of these words with the settings as named groups.
    """

    name: str
    axes: Mapping[str, str]
    sizes: Callable[..., dict[str, dict[str, int]]] = _no_letters
    expected: Callable[[Shape, Shape], dict[str, object]] = _by_groups
    start: Callable[[Mapping[str, Tensor]], Accumulator] | None = None
    constant: tuple[str, ...] = ()
    fill: Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor]], None] | None = None
    inputs_once: bool = False
    prior: str = ""
    restrict: Callable[[Arrays, Arrays], dict[str, np.ndarray]] = _as_they_are
    spell: Callable[..., str] | None = None
    pattern: str = ""

    @property
    def settings(self) -> dict[str, Setting]:
        """What the configuration may set beside a criterion that needs this structure."""
        return settings_of(self.spell) if self.spell else {}

    def word(self, options: Mapping[str, Any] | None = None) -> str:
        """The structure with its settings as one word, as paths write it."""
        return self.spell(**(options or {})) if self.spell else self.name

    def shapes(self, layers: Mapping[str, LayerShape], **options: Any) -> dict[str, dict[str, Shape]]:
        """Layer -> key -> shape of the array.

        Raises:
            ObtransferError: settings that do not fit the layers.
        """
        own = self.sizes(layers, **options)
        letters = {n: {"G": s.groups, "O": s.outputs, "I": s.inputs} | own[n] for n, s in layers.items()}
        return {
            name: {
                key: tuple(letters[name][axis] for axis in axes) or shape.weight
                for key, axes in self.axes.items()
            }
            for name, shape in layers.items()
        }

    def problems(self, statistics: Arrays, weights: Arrays) -> list[str]:
        """In which entries the statistic does not fit the weights: missing, unexpected or of another shape."""
        wanted = {name + key: name for name in weights for key in self.axes}
        found = [f"{entry}: missing" for entry in wanted if entry not in statistics]
        found += [f"{entry}: not among the weights" for entry in statistics if entry not in wanted]
        for name, weight in weights.items():
            shapes = {key: statistics[name + key].shape for key in self.axes if name + key in statistics}
            sizes = self.expected(weight.shape, next(iter(shapes.values()), ()))
            for key, shape in shapes.items():
                axes = self.axes[key]
                needed = (
                    ", ".join(str(sizes[axis]) for axis in axes) if axes else str(list(weight.shape))[1:-1]
                )
                if str(list(shape)) != f"[{needed}]":
                    found.append(f"{name}{key}: needed shape [{needed}], got {list(shape)}")
        return found


def parse(word: str) -> tuple[str, dict[str, Any]]:
    """The structure's name and the settings in a word: ``block16`` is ("block", {"block_size": 16}).

    Raises:
        ObtransferError: no structure has this word.
    """
    from obtransfer.registry import STRUCTURES

    for name, structure in STRUCTURES.items():
        found = re.fullmatch(structure.pattern or name, word)
        if found:
            return name, {key: int(v) if v.isdigit() else v for key, v in found.groupdict().items()}
    words = ", ".join(structure.pattern or name for name, structure in STRUCTURES.items())
    raise ObtransferError(f"needed the word of a structure; got {word!r}; write one of: {words}")
