"""What a criterion is, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from obtransfer.artifacts import Arrays
from obtransfer.declare import Setting, settings_of, takes


@dataclass(frozen=True)
class Scores:
    """Scores by parameter name, and by-products.

    Scores are float64: ½ h w² of a nearly dead filter (w ~ 1e-30) underflows in float32 and would equal its
    neighbours. float64 keeps the order of all products of float32 numbers without a scale factor.

    Attributes:
        scores: name to float64 array of the parameter's shape; higher = keep.
        details: settings and by-products, such as the absolute damping of every layer; written as JSON.
    """

    scores: dict[str, np.ndarray]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Criterion:
    """One way to score weights.

    Attributes:
        score: ``score(weights, statistics, *, ...) -> Scores``, or ``score(weights, *, ...)`` if `needs` is
            "none". Its keyword-only parameters are the criterion's settings. A parameter `seed` is no
            setting: the grid's seed is passed, and each seed gets its own scores.
        title: the name for people.
        needs: "none", or the structure of the statistic that it reads.
        estimator: the only estimator that it accepts; "" for any that has the structure.
        attention: whether it is defined for networks with attention.
    """

    score: Callable[..., Scores]
    title: str
    needs: str = "none"
    estimator: str = ""
    attention: bool = True

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """Its settings: name to type, bounds, help and default."""
        return settings_of(self.score)

    @cached_property
    def seeded(self) -> bool:
        """Whether it draws random numbers."""
        return takes(self.score, "seed")

    def scores(
        self,
        weights: Arrays,
        statistics: Arrays | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Scores:
        """Call `score` with those arguments that it has.

        Args:
            weights: parameter name to array; not changed.
            statistics: read if `needs` is not "none".
            options: values of `settings`.
            seed: read if the criterion is `seeded`.

        Raises:
            ObtransferError: as `score`.
        """
        arguments = {**(options or {}), **({"seed": seed} if self.seeded else {})}
        if self.needs == "none":
            return self.score(weights, **arguments)
        return self.score(weights, statistics or {}, **arguments)
