"""Colours and order of criteria: told apart by every reader, and the same in every run."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from obtransfer.registry import CRITERIA
from obtransfer.report.style import INK, series_styles
from obtransfer.report.summary import criterion_rank

# Machado, Oliveira and Fernandes (2009), severity 1; they act on linear RGB.
VISION = {
    "full": np.eye(3),
    "red-blind": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green-blind": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "blue-blind": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}  # fmt: skip
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def cielab(color: str, vision: str) -> np.ndarray:
    srgb = np.array(to_rgb(color))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    xyz = TO_XYZ @ seen / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart(vision: str) -> None:
    names = [*CRITERIA, *(f"other_{i}" for i in range(10))]
    styles = series_styles(names)
    assert len({style.color for style in styles.values()}) == 19
    colours = [*(style.color for style in styles.values()), INK]
    labs = [cielab(color, vision) for color in colours]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(labs, 2)) > 8


def test_a_colour_stays_when_criteria_come_and_go() -> None:
    few, many = (
        series_styles(["obs", "obs_block64"]),
        series_styles([*CRITERIA, "obs_joint", "obs_block64"]),
    )
    for name in few:
        assert few[name].color == many[name].color
    crowd = series_styles([f"label_{i}" for i in range(10)])
    assert len({style.color for style in crowd.values()}) == 10


def test_variants_follow_their_criterion() -> None:
    labels = [
        "random",
        "zeta",
        "obs_block64",
        "px",
        "kfac_obs_a",
        "obd",
        "obs",
        "alpha",
        "kfac_obs",
        "magnitude",
    ]
    assert sorted(labels, key=criterion_rank) == [
        "magnitude", "obd", "obs", "obs_block64", "kfac_obs", "kfac_obs_a", "px", "random", "alpha", "zeta",
    ]  # fmt: skip
