"""Settings that criteria, structures and estimators declare, joined with the keys beside which YAML has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, field, fields, make_dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal

from annotated_types import doc

from obtransfer.config.describe import keys_of
from obtransfer.declare import REQUIRED, Setting
from obtransfer.errors import ObtransferError
from obtransfer.registry import CRITERIA, ESTIMATORS, STRUCTURES
from obtransfer.settings import CurvatureSettings, Label

DENSE = "dense"
"""The model that is not pruned, in paths and tables."""
CHOSEN: Final = "chosen"
"""The value of `damping` that stands for the best of `damping_choice`."""
_OPTIONS = ("options", "structure_options")


@cache
def keys_of_label(criterion: str) -> type:
    """A dataclass with the keys of a label of this criterion: those of `Label`, the criterion's and its structure's settings."""
    entry = CRITERIA[criterion]
    declared = {**structure_settings(criterion), **entry.settings}
    own = _own_keys(Label)
    if entry.needs == "none" or entry.estimator:
        del own["estimator"]
    else:
        able = tuple(name for name in ESTIMATORS if entry.needs in ESTIMATORS[name].structures)
        own["estimator"] = (Annotated[Literal[able], doc("estimator of the curvature")], REQUIRED)
    if entry.needs != "block":
        del own["update"]
    return _dataclass(criterion, own, declared)


@cache
def keys_of_curvature() -> type:
    """A dataclass with the keys of `curvature`: those of `CurvatureSettings`, and the settings of all estimators."""
    declared = {
        name: setting for estimator in ESTIMATORS for name, setting in ESTIMATORS[estimator].settings.items()
    }
    return _dataclass("curvature", _own_keys(CurvatureSettings), declared, CurvatureSettings.__doc__)


def label_of(values: Any, criterion: str) -> Label:
    """The label made from checked values of `keys_of_label`."""
    own = {name: value for name, value in vars(values).items() if name in keys_of(Label)}
    return Label(
        **own,
        options=_taken(values, CRITERIA[criterion].settings),
        structure_options=_taken(values, structure_settings(criterion)),
    )


def bare_label(criterion: str) -> Label | None:
    """The label of a criterion without further keys; None if it has required settings."""
    if required(criterion):
        return None
    own, of_structure = CRITERIA[criterion].settings, structure_settings(criterion)
    return Label(criterion=criterion, options=_defaults(own), structure_options=_defaults(of_structure))


def curvature_of(values: Any) -> CurvatureSettings:
    """The settings made from checked values of `keys_of_curvature`."""
    own = {name: value for name, value in vars(values).items() if name in keys_of(CurvatureSettings)}
    return CurvatureSettings(
        **own, options={name: value for name, value in vars(values).items() if name not in own}
    )


def required(criterion: str) -> list[str]:
    """The keys that a label of this criterion must have besides `criterion`."""
    entry = CRITERIA[criterion]
    declared = {**structure_settings(criterion), **entry.settings}
    free = [] if entry.needs == "none" or entry.estimator else ["estimator"]
    return [*free, *(name for name, setting in declared.items() if setting.default is REQUIRED)]


def structure_settings(criterion: str) -> Mapping[str, Setting]:
    """The settings of the structure that a criterion reads."""
    needs = CRITERIA[criterion].needs
    return {} if needs == "none" else STRUCTURES[needs].settings


def _own_keys(settings: type) -> dict[str, tuple[Any, Any]]:
    """Name to annotation and default of a dataclass's keys, without those that hold declared settings."""
    return {
        key.name: (keys_of(settings)[key.name], REQUIRED if _is_required(key) else key.default)
        for key in fields(settings)
        if key.name not in _OPTIONS
    }


def _dataclass(
    name: str, own: Mapping[str, tuple[Any, Any]], declared: Mapping[str, Setting], doc: str | None = None
) -> type:
    every = dict(own)
    for key, setting in declared.items():
        if key in own:
            raise ObtransferError(
                f"{name} declares a setting {key!r}, a key that exists already; rename the parameter"
            )
        annotation = setting.annotation | Literal[CHOSEN] if key == "damping" else setting.annotation
        every[key] = (annotation, setting.default)
    specifications = [
        (key, annotation, field() if default is REQUIRED else field(default=default))
        for key, (annotation, default) in every.items()
    ]
    made = make_dataclass(name, specifications, kw_only=True, frozen=True)
    made.__doc__ = doc or "a criterion and its settings"
    return made


def _is_required(key: Field[Any]) -> bool:
    return key.default is MISSING and key.default_factory is MISSING


def _taken(values: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(values, name) for name in names}


def _defaults(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {name: setting.default for name, setting in settings.items()}
