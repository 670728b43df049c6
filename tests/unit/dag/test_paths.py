"""Paths are written and read back, over whole grids."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obtransfer.dag import grid, paths
from obtransfer.dag.paths import BatchNorm, Export, Form, Model, Scoring, State, Statistic, Tuning, decimal
from obtransfer.settings import Configuration

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
SEEDS = st.integers(0, 99)
SCORINGS = st.one_of(
    st.builds(Scoring, NAMES), st.builds(Scoring, NAMES, seed=SEEDS), st.builds(Scoring, NAMES, NAMES, SEEDS)
)
SPARSITIES = st.integers(1, 999).map(lambda thousandths: decimal(thousandths / 1000))
STATES = st.one_of(st.just(State()), st.builds(State, SCORINGS, NAMES, SPARSITIES))
BATCHNORMS = st.one_of(st.just(BatchNorm()), st.builds(BatchNorm, NAMES))
TUNINGS = st.builds(Tuning, NAMES, SEEDS)
MODELS = st.builds(
    Model, st.builds("{}.{}".format, NAMES, NAMES), STATES, BATCHNORMS, st.one_of(st.none(), TUNINGS)
)


@given(st.one_of(SCORINGS, STATES, BATCHNORMS, TUNINGS, MODELS))
def test_what_is_written_is_read_back(value: Any) -> None:
    assert type(value).parse(str(value)) == value


@given(MODELS)
def test_every_model_matches_the_wildcards_of_the_rules(model: Model) -> None:
    template = paths.FINETUNED_EVALUATION if model.tuning else paths.EVALUATION
    assert wildcards(template, model.evaluation("all")) == {
        "backbone": model.backbone,
        "state": str(model.state),
        "batchnorm": str(model.batchnorm),
        "suite": "all",
        **({"tuning": str(model.tuning)} if model.tuning else {}),
    }


def test_every_point_of_a_grid_is_read_back(every: Configuration) -> None:
    found = {grid.model(every, point) for point in grid.points(every)}
    assert len(found) > 100
    assert len({str(model) for model in found}) == len(found)
    for model in found:
        assert Model.parse(str(model)) == model


@pytest.mark.parametrize("form", [Form("features"), Form("zero_shot", "probe_task"), Form("probe", "upper")])
def test_forms_and_exports(form: Form) -> None:
    assert Form.parse(str(form)) == form
    assert str(Export(Model("a.b"), form)) == f"exports/a.b/dense/keep/{form}"


def test_statistics_name_a_source_where_images_are_read() -> None:
    assert str(Statistic("a.b", "synflow", "per_weight")) == "curvature/a.b/synflow.per_weight.safetensors"
    found = Statistic("a.b", "ggn", "block4", "upper", 1)
    assert str(found) == "curvature/a.b/upper/seed_1/ggn.block4.safetensors"


def test_logs_are_named_like_what_is_made() -> None:
    assert paths.log("compute_mask", paths.MASK) == (
        "logs/compute_mask/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.log"
    )
    assert paths.log("summarise", paths.SUMMARY) == "logs/summarise.log"
    assert paths.benchmark("export", paths.EXPORT) == (
        "benchmarks/export/{backbone}/{state}/{batchnorm}/{form}.tsv"
    )


@pytest.mark.parametrize(
    "results, expected",
    [
        ("results", "results/summary.csv"),
        (".", "summary.csv"),
        ("a/b/", "a/b/summary.csv"),
        ("/c", "/c/summary.csv"),
    ],
)
def test_results_may_lie_anywhere(results: str, expected: str) -> None:
    assert paths.below(results, paths.SUMMARY) == expected


def test_every_wildcard_of_every_template_is_constrained() -> None:
    templates = [value for name, value in vars(paths).items() if name.isupper() and isinstance(value, str)]
    used = {name for text in templates for _, name, _, _ in string.Formatter().parse(text) if name}
    assert used == set(paths.WILDCARDS)


def test_one_spelling_for_a_sparsity() -> None:
    assert [decimal(q) for q in (0.7, "0.70", 0.9000, 1e-2)] == ["0.7", "0.7", "0.9", "0.01"]


def wildcards(template: str, path: str) -> dict[str, str] | None:
    """What Snakemake would make of a path, by the constraints of the wildcards."""
    pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for name, constraint in paths.WILDCARDS.items():
        pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>{constraint})")
    found = re.fullmatch(pattern, path)
    return found.groupdict() if found else None
