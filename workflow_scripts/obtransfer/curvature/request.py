"""A request for a statistic: everything that its value depends on, besides the model, its head and the examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from obtransfer.curvature.structures.base import parse
from obtransfer.errors import ObtransferError
from obtransfer.registry import ESTIMATORS, STRUCTURES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Request:
    """What is to be computed.

    Attributes:
        estimator: a key of `obtransfer.registry.ESTIMATORS`.
        structure: a structure's word: diagonal, block16, blockrow, kfac, ekfac, per_weight.
        options: the estimator's settings; those left out have their defaults.
        seed: of estimators that draw.
        parameters: names of Conv2d and Linear weights; None for all of them.
        dtype: accumulate in this, float32 (None) or the parameter's, whichever is most precise.

    Raises:
        ObtransferError: names or settings that do not exist, or a structure that the estimator cannot make.
    """

    estimator: str
    structure: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    parameters: tuple[str, ...] | None = None
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, estimator: str, structure: str, settings: Mapping[str, Any], **more: Any) -> Request:
        """The request with those of the settings of `curvature` that the estimator declares."""
        declared = ESTIMATORS[estimator].settings if estimator in ESTIMATORS else {}
        return cls(estimator, structure, {name: settings[name] for name in declared}, **more)

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ObtransferError(
                f"needed the name of an estimator; got {self.estimator!r}; there are: {', '.join(ESTIMATORS)}"
            )
        name, able = parse(self.structure)[0], ESTIMATORS[self.estimator].structures
        if name not in able:
            raise ObtransferError(
                f"{self.estimator} needs a structure that it can make; got {self.structure}; it makes {', '.join(able)}"
            )

    @property
    def prior(self) -> Request | None:
        """The request of the statistic that must be there first, for the same weights and examples."""
        structure = STRUCTURES[parse(self.structure)[0]].prior
        if structure:
            return replace(self, structure=structure)
        estimator, _, structure = ESTIMATORS[self.estimator].prior.partition(".")
        if not estimator:
            return None
        declared = ESTIMATORS[estimator].settings
        options = {name: value for name, value in self.options.items() if name in declared}
        return replace(self, estimator=estimator, structure=structure, options=options)

    def __str__(self) -> str:
        return f"{self.estimator}.{self.structure}"
