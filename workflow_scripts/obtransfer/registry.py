"""Everything that has a name: plain strings, resolved on use, so that building the DAG imports nothing heavy.

The rules read this module and hand each step the entry it needs, or the digest of the code behind it; the module itself
is left out of every digest, so that a new line here reruns nothing that exists.
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
    """What the grid must know of a network (`obtransfer.models.build`) without building it."""

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
    "miniresnet": Architecture(has_batchnorm=True),
    "minivit": Architecture(has_batchnorm=False),
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
        "miniresnet.mocov2": "4a86667aa595b83682fd6c134a08baf5a9baad886c51af537025186f3ca8e631",
        "miniresnet.dino": "75b6f955569aa13c4cc63040800d2f99d34ed99db04749a65830de477998491a",
        "minivit.supervised": "9223be765f2b376a297f61ba3afd4395809a179471817c6aa66fc94917787011",
        "minivit.mocov2": "cfa85833eb19b9f06713f9aee63c233682a47b23da8c2f905b2a5e18355d5684",
        "minivit.dino": "6bb4a4ba513eb44dd2d647510ff3886f099c31d1b8bb52a4b30c026a3820509a",
    }.items()
}
