"""Settings that extensions declare are read, checked and completed without a line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Lt, doc
from obtransfer.config import labels, load
from obtransfer.criteria.base import Arrays, Criterion, Scores
from obtransfer.errors import ObtransferError
from obtransfer.registry import CRITERIA, ESTIMATORS
from obtransfer.settings import Label

ROOT = Path(__file__).resolve().parents[3]
DEFAULT: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
Temperature = Annotated[float, Ge(0), Lt(10), doc("of the softmax")]


def warm(
    weights: Arrays,
    statistics: Arrays,
    *,
    temperature: Temperature,
    kind: Literal["soft", "hard"] = "soft",
    damping: float = 0.5,
    seed: int = 0,
) -> Scores:
    return Scores({})


def cold(weights: Arrays, *, steps: int = 3) -> Scores:
    return Scores({})


def clashing(weights: Arrays, *, rounds: int = 3) -> Scores:
    return Scores({})


Declare = Callable[[str, Criterion], None]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Add a criterion to the registry, as its own file and one line would."""

    def add(name: str, criterion: Criterion) -> None:
        module = ModuleType(f"a_module_of_{name}")
        vars(module)["CRITERION"] = criterion
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(CRITERIA.modules, name, module.__name__)

    yield add
    labels.keys_of_label.cache_clear()


def with_label(**settings: Any) -> dict[str, Any]:
    return DEFAULT | {"criteria": {**DEFAULT["criteria"], "mine": settings}}


def test_a_criterion_and_its_structure_declare_settings(declare: Declare) -> None:
    declare("warm", Criterion(warm, "Warm", needs="block"))
    settings = {
        "criterion": "warm",
        "estimator": "ggn",
        "block_size": "row",
        "temperature": "1e-1",
        "rounds": 2,
    }
    assert load(with_label(**settings)).criteria["mine"] == Label(
        criterion="warm",
        estimator="ggn",
        options={"temperature": 0.1, "kind": "soft", "damping": 0.5},
        structure_options={"block_size": "row"},
        rounds=2,
    )
    assert "warm" not in load(DEFAULT).criteria


def test_a_criterion_without_required_settings_is_a_label(declare: Declare) -> None:
    declare("cold", Criterion(cold, "Cold"))
    config = DEFAULT | {"grid": {**DEFAULT["grid"], "criteria": ["cold", "mine"]}}
    config |= {"criteria": {"mine": {"criterion": "cold", "steps": 5}}}
    found = load(config).criteria
    assert found["cold"].options == {"steps": 3}
    assert found["mine"].options == {"steps": 5}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "criteria.mine.temperature: missing; needed a number, at least 0 and below 10 (of the softmax)"),
        ({"temperature": 10}, "criteria.mine.temperature: got 10; needed a number, at least 0 and below 10 (of the softmax)"),
        ({"temperature": 1, "kind": "sof"}, "criteria.mine.kind: got the text 'sof'; needed one of soft, hard; did you mean 'soft'?"),
        ({"temperature": 1, "temprature": 1}, "criteria.mine.temprature: unknown key; did you mean 'temperature'? known here: "),
        ({"temperature": 1, "negative": "abs"}, "criteria.mine.negative: warm does not read it; remove it"),
        ({"temperature": 1, "seed": 1}, "criteria.mine.seed: unknown key; known here: "),
        ({"temperature": 1, "damping": "chosen"}, "damping_choice: missing; needed the candidates for the damping of mine"),
    ],
)  # fmt: skip
def test_wrong_settings_of_an_extension(declare: Declare, settings: dict[str, Any], expected: str) -> None:
    declare("warm", Criterion(warm, "Warm", needs="diagonal"))
    with pytest.raises(ObtransferError) as caught:
        load(with_label(criterion="warm", estimator="hessian", **settings))
    (line,) = str(caught.value).split("\n  ")[1:]
    assert line.startswith(expected)


def test_a_setting_named_like_a_key_of_every_label_is_refused(declare: Declare) -> None:
    declare("clashing", Criterion(clashing, "Clashing"))
    with pytest.raises(ObtransferError, match="clashing declares a setting 'rounds'"):
        load(with_label(criterion="clashing"))


def test_settings_of_estimators_stand_under_curvature() -> None:
    declared = {name for estimator in ESTIMATORS.values() for name in estimator.settings}
    found = load(
        DEFAULT | {"curvature": {"num_examples": 50, "num_probes": "7", "loss": "cross_entropy"}}
    ).curvature
    assert set(found.options) == declared
    assert (found.num_examples, found.options["num_probes"], found.options["loss"]) == (
        50,
        7,
        "cross_entropy",
    )
    with pytest.raises(
        ObtransferError, match=r"curvature\.loss: got the text 'hinge'; needed one of squared_error"
    ):
        load(DEFAULT | {"curvature": {"loss": "hinge"}})
