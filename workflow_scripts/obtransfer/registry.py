"""Everything that has a name: plain strings, resolved on use, so that building the DAG imports nothing heavy.

Only the workflow's rules and the configuration's checks read this module. Steps get the entry they need as a
parameter, so that a new line here reruns nothing that exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Needs = Literal["none", "diagonal", "block"]


@dataclass(frozen=True)
class Criterion:
    """`score` makes scores from weights and, where it `needs` one, a curvature structure; `seeded`: from chance."""

    score: str
    needs: Needs = "none"
    seeded: bool = False


@dataclass(frozen=True)
class Architecture:
    """`build()` returns the network without classifier, features [B, D]."""

    build: str
    has_batchnorm: bool


@dataclass(frozen=True)
class Backbone:
    """Where pre-trained weights come from, how their keys are converted, and the pixels they were trained on."""

    address: str
    sha256: str
    convert: str
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion("obtransfer.scores.magnitude:magnitude"),
    "obd": Criterion("obtransfer.scores.obd:obd", needs="diagonal"),
    "obs": Criterion("obtransfer.scores.obs:obs", needs="block"),
    "random": Criterion("obtransfer.scores.random:random", seeded=True),
}

ESTIMATORS: dict[str, str] = {
    "ggn": "obtransfer.curvature.ggn:output_vectors",
    "empirical_fisher": "obtransfer.curvature.empirical_fisher:output_vectors",
}

ALLOCATIONS: dict[str, str] = {
    "global": "obtransfer.masks.allocation:global_",
    "uniform": "obtransfer.masks.allocation:uniform",
}

_GLYPHS = (
    "upper", "lower", "digits", "greek", "cyrillic", "armenian", "georgian", "arrows", "math", "symbols",
    "hebrew", "shapes",
)  # fmt: skip
TASKS: dict[str, str] = {name: "obtransfer.data.glyphs:load" for name in _GLYPHS} | {
    "handwritten": "obtransfer.data.digits:load",
}

ARCHITECTURES: dict[str, Architecture] = {
    "miniresnet": Architecture("obtransfer.models.build:miniresnet", has_batchnorm=True),
    "minivit": Architecture("obtransfer.models.build:minivit", has_batchnorm=False),
}


def _mini(name: str, sha256: str) -> Backbone:
    address = f"file:resources/pretrained/{name}.safetensors"
    return Backbone(
        address, sha256, "obtransfer.models.mini:convert", 32, (0.32, 0.32, 0.32), (0.22, 0.22, 0.22)
    )


BACKBONES: dict[str, Backbone] = {
    name: _mini(name, sha256)
    for name, sha256 in {
        "miniresnet.supervised": "82e6ff01e68e1eb93a3ae5f9761c7127b11292495ce1ea2bd6efff8121b1730c",
        "miniresnet.mocov2": "def019566edef5db158db8a1fc5669072a6923c294217cdf5cd97228a33fedbc",
        "miniresnet.dino": "2144b4e031383172a3dd096bdf471b5cf6a7b030a7bb9a3db49790552658b697",
        "minivit.supervised": "2cf96057f0849e637997fb541958ff45d2a3e2bbfbc09e4019644d83608b68d1",
        "minivit.mocov2": "26e0b3a674741901c48237a6744d53143f1d3d2b7270bcf416f81c42a885c4a7",
        "minivit.dino": "a019f35c4c293c3dd7317b8d1b95bc21164c570e4c3c5e2a5ba1e695f3ec0b7c",
    }.items()
}
