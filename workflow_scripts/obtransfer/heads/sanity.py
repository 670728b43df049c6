"""Do features look like those of trained weights? Wrong weights load without an error and make plausible tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SHARE_ABOVE_CHANCE = 0.1
DEVIATIONS = 3.0
LEAST_SPREAD = 1e-3


def feature_statistics(features: npt.NDArray[np.floating]) -> dict[str, float]:
    """Mean and standard deviation of all numbers, and how much the images differ.

    Args:
        features: [N, D], N ≥ 1.

    Returns:
        ``mean``, ``std``, and ``spread``: the standard deviation over images, averaged over the D features, divided by
        the root mean square of all numbers. It has no unit and is 0 if all images have the same features.
    """
    wide = features.astype(np.float64)
    size = float(np.sqrt(np.mean(wide**2)))
    spread = float(wide.std(axis=0).mean()) / size if size else 0.0
    return {"mean": float(wide.mean()), "std": float(wide.std()), "spread": spread}


def least_accuracy(num_classes: int, num_images: int) -> float:
    """The accuracy that a head on trained features exceeds.

    It lies a tenth of the way from chance to 1, or three standard errors above chance if that is more.

    Args:
        num_classes: K; chance is 1 / K.
        num_images: on which the accuracy is measured.
    """
    chance = 1 / num_classes
    error = np.sqrt(chance * (1 - chance) / num_images)
    return float(max(chance + SHARE_ABOVE_CHANCE * (1 - chance), chance + DEVIATIONS * error))


def doubts(
    accuracy: float, num_classes: int, num_images: int, statistics: dict[str, float] | None = None
) -> list[str]:
    """Reasons to doubt that these are the right weights; usually none.

    Args:
        accuracy: of a ridge head on images that it was not fitted on, in [0, 1].
        num_classes: K.
        num_images: on which the accuracy is measured.
        statistics: of `feature_statistics`, if known.
    """
    found = []
    least = least_accuracy(num_classes, num_images)
    if accuracy <= least:
        found.append(
            f"a ridge head reaches {100 * accuracy:.1f} % on {num_images} images of {num_classes} classes, where guessing "
            f"reaches {100 / num_classes:.1f} %: the features look random"
        )
    if statistics and statistics["spread"] < LEAST_SPREAD:
        found.append(f"the features hardly differ between images (spread {statistics['spread']:.1g})")
    return found


def banner(what: str, reasons: Sequence[str]) -> str:
    """A warning with a frame around it."""
    lines = [f"WARNING: {what}:", *(f"  - {reason}" for reason in reasons)]
    lines += [
        "Is this the right file of weights, of the right architecture, and the right transform of the images?"
    ]
    rule = "!" * max(map(len, lines))
    return "\n".join([rule, *lines, rule])
