"""The settings with which each shipped backbone was trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

METHODS: Mapping[str, str] = {
    "supervised": "obtransfer.pretrain.supervised:Supervised",
    "mocov2": "obtransfer.pretrain.mocov2:MoCoV2",
    "dino": "obtransfer.pretrain.dino:Dino",
}


@dataclass(frozen=True)
class Recipe:
    """Settings of one pre-training; AdamW, linear warm-up, then a cosine to zero.

    Attributes:
        steps: optimiser steps.
        batch_size: glyphs per step; each is rendered in as many views as the method reads.
        learning_rate: its largest value.
        weight_decay: of AdamW, on all but one-dimensional parameters.
        warmup_steps: steps of linear warm-up.
        gradient_clip: largest norm of the gradient; 0 for no limit.
        renderings: images per glyph and font in the pool.
        muon: Muon instead of AdamW for the backbone's linear layers, at the same learning rate.
        options: keyword arguments of the method.
        build_options: keyword arguments of the architecture's builder.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.05
    warmup_steps: int = 200
    gradient_clip: float = 1.0
    renderings: int = 128
    muon: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    build_options: Mapping[str, Any] = field(default_factory=dict)


# BatchNorm in the head spreads the features from the start. Without it few prototypes are used for a long time.
_DINO_OPTIONS = {"batchnorm": True, "local_size": 24, "local_part": (0.65, 0.85)}

RECIPES: Mapping[str, Recipe] = {
    "miniresnet.supervised": Recipe(2000, 128, 2e-3),
    "miniresnet.mocov2": Recipe(1600, 256, 1e-3),
    "miniresnet.dino": Recipe(1500, 128, 1e-3, options=_DINO_OPTIONS),
    "minivit.supervised": Recipe(3000, 128, 2e-3, muon=True),
    "minivit.mocov2": Recipe(2500, 128, 1.5e-3, muon=True),
    "minivit.dino": Recipe(
        3600,
        96,
        1.5e-3,
        muon=True,
        options=_DINO_OPTIONS,
        build_options={"dynamic_img_size": True},
    ),
}
