"""How an extension declares itself: in its own file, once.

Criteria, estimators and structures are each a function (or a few) and an object that describes it. The settings are the
keyword-only parameters of the function: their annotations give type, bounds and help (`annotated_types`), and a default
makes a setting optional. The checks of the configuration and docs/configuration.md are made from these declarations.
Nothing here imports torch, so that building the DAG stays quick.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar, get_args

from annotated_types import DocInfo

REQUIRED = inspect.Parameter.empty
GIVEN = frozenset({"seed", "prior"})
"""Keyword-only parameters that the caller fills in; they are not settings."""

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One setting of an extension. `annotation`: its type with bounds; `default`: REQUIRED where there is none."""

    annotation: Any
    default: Any

    @property
    def help(self) -> str:
        """What the setting means, in a few words; empty if the annotation does not say."""
        found = [part.documentation for part in get_args(self.annotation) if isinstance(part, DocInfo)]
        return found[0] if found else ""


def settings_of(function: Callable[..., Any]) -> dict[str, Setting]:
    """The settings that a function declares: its keyword-only parameters, without those in `GIVEN`."""
    return {
        name: Setting(_evaluated(parameter.annotation, function), parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in GIVEN
    }


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has a parameter of this name."""
    return name in inspect.signature(function).parameters


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    """Annotations are text where the module has ``from __future__ import annotations``."""
    return eval(annotation, function.__globals__) if isinstance(annotation, str) else annotation


class Registry(Mapping[str, T], Generic[T]):
    """Name -> object, in order; modules are imported when they are first asked for.

    Args:
        package: where the modules are.
        attribute: the object in each module.
        names: of the modules, one line each, in the order of tables and colours. The part after the last point is the key.
            For ``module:key``, the module's attribute is a mapping with that key.
    """

    def __init__(self, package: str, attribute: str, names: tuple[str, ...]) -> None:
        self.attribute = attribute
        self.modules = {re.split("[.:]", name)[-1]: f"{package}.{name}".partition(":")[0] for name in names}

    def __getitem__(self, name: str) -> T:
        declared = getattr(import_module(self.modules[name]), self.attribute)
        found: T = declared[name] if isinstance(declared, Mapping) else declared
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __len__(self) -> int:
        return len(self.modules)

    def __contains__(self, name: object) -> bool:
        return name in self.modules

    def module(self, name: str) -> str:
        """The module that declares `name`; a digest of it shows when the code changes."""
        return self.modules[name]
