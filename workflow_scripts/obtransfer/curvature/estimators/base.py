"""What an estimator is: the function that makes a statistic from a model and examples, and its properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import doc

from obtransfer.declare import Setting, settings_of, takes
from obtransfer.errors import ObtransferError
from obtransfer.registry import LOSSES, STRUCTURES

LOSS = Setting(
    Annotated[Literal.__getitem__(tuple(LOSSES)), doc("the loss whose derivatives are taken")],
    "squared_error",
)
"""The setting that all estimators share, apart from those that read no loss."""


@dataclass(frozen=True)
class Estimator:
    """One estimator.

    Attributes:
        title: its name for people.
        function: the keyword-only parameters are its settings, apart from `seed` (it draws) and `prior`. The first
            parameter says what it makes. `outputs` (`obtransfer.curvature.outputs.Outputs`): vectors v [S, B, K] of the
            outputs, from which every structure of per-example gradients is made. `examples`
            (`obtransfer.curvature.examples.Examples`): the statistic itself, by the keys of its one structure.
        fills: the structures that `function` makes by itself; () for those of per-example gradients.
        prior: estimator.structure of the statistic of the same examples that must be there first.
        data: whether it reads images beyond the shape of the first.
        loss: whether it reads the loss.
    """

    title: str
    function: Callable[..., Any]
    fills: tuple[str, ...] = ()
    prior: str = ""
    data: bool = True
    loss: bool = True

    @property
    def makes_vectors(self) -> bool:
        """Whether `function` makes vectors of the outputs."""
        return takes(self.function, "outputs")

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures it can make."""
        return self.fills or tuple(name for name, structure in STRUCTURES.items() if structure.start)

    @property
    def settings(self) -> dict[str, Setting]:
        """What the configuration may set under `curvature` for it."""
        return ({"loss": LOSS} if self.loss else {}) | settings_of(self.function)

    def arguments(self, options: Mapping[str, Any], **given: Any) -> dict[str, Any]:
        """What `function` is called with: its settings among `options`, and of what is given the parameters it has.

        Raises:
            ObtransferError: an option that is none of `settings`.
        """
        unknown = options.keys() - self.settings.keys()
        if unknown:
            known = ", ".join(self.settings) or "none"
            raise ObtransferError(
                f"{self.title} needs settings that it has; got {', '.join(sorted(unknown))}; its settings: {known}"
            )
        own = {name: value for name, value in options.items() if name != "loss"}
        return own | {name: value for name, value in given.items() if takes(self.function, name)}
