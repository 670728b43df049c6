"""What every criterion of the registry has in common."""

import json
import os
import re
import subprocess
import sys
from inspect import Parameter, signature

import numpy as np
import pytest
from criteria_tables import PAGE, with_tables
from obtransfer.artifacts import map_tensors, read_tensors, write_tensors
from obtransfer.declare import REQUIRED
from obtransfer.registry import CRITERIA

SHAPES = {"b.weight": (4, 3, 3, 3), "a.weight": (5, 7)}
BLOCK_SIZE = 8
NEVER_NEGATIVE = {"magnitude", "obd", "obs", "kfac_obs", "snip", "synflow", "random"}


def inputs(needs):
    generator = np.random.default_rng(0)
    weights = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    if needs == "none":
        return weights, None
    if needs == "diagonal":
        return weights, {name: generator.random(shape, dtype=np.float32) for name, shape in SHAPES.items()}
    if needs == "per_weight":
        return weights, {name: generator.standard_normal(shape) for name, shape in SHAPES.items()}
    if needs == "kfac":
        return weights, {
            f"{name}:{side}": positive_definite(generator, 1, size)
            for name, (outputs, *rest) in SHAPES.items()
            for side, size in (("inputs", int(np.prod(rest))), ("outputs", outputs))
        }
    counts = {name: -(-weight.size // BLOCK_SIZE) for name, weight in weights.items()}
    return weights, {name: positive_definite(generator, count, BLOCK_SIZE) for name, count in counts.items()}


def options_of(name):
    """A value for each setting without a default."""
    required = {key for key, setting in CRITERIA[name].settings.items() if setting.default is REQUIRED}
    return {key: {"damping": 0.1}[key] for key in required}


def positive_definite(generator, count, size):
    root = generator.standard_normal((count, size, 2 * size + 4))
    return (root @ root.transpose(0, 2, 1)).astype(np.float32)


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_of_mapped_files_can_be_written_and_are_the_same_twice(name, tmp_path):
    criterion, options = CRITERIA[name], options_of(name)
    weights, statistics = inputs(criterion.needs)
    expected = criterion.scores(weights, statistics, options, seed=3)
    write_tensors(tmp_path / "weights", weights, kind="backbone")
    if statistics is not None:
        write_tensors(tmp_path / "curvature", statistics, kind="curvature")
        statistics = map_tensors(tmp_path / "curvature", kind="curvature").tensors
    mapped = map_tensors(tmp_path / "weights", kind="backbone").tensors
    found = criterion.scores(mapped, statistics, options, seed=3)
    write_tensors(tmp_path / "scores", found.scores, kind="scores", metadata=found.details)
    again = read_tensors(tmp_path / "scores", kind="scores")
    assert again.metadata == json.loads(json.dumps(expected.details))
    for layer, shape in SHAPES.items():
        np.testing.assert_array_equal(again.tensors[layer], expected.scores[layer])
        assert expected.scores[layer].shape == shape and expected.scores[layer].dtype == np.float64
        # px gets signed statistics here, which its own estimator never makes.
        assert expected.scores[layer].min() >= 0 or name not in NEVER_NEGATIVE


@pytest.mark.parametrize("name", CRITERIA)
def test_only_a_seeded_criterion_depends_on_the_seed(name):
    criterion, given = CRITERIA[name], inputs(CRITERIA[name].needs)
    one, two = (criterion.scores(*given, options_of(name), seed).scores for seed in (0, 1))
    assert criterion.seeded is not all(np.array_equal(one[layer], two[layer]) for layer in SHAPES)


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_says_what_it_is(name):
    criterion = CRITERIA[name]
    positional, keywords = (
        [key for key, parameter in signature(criterion.score).parameters.items() if parameter.kind is kind]
        for kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    )
    assert positional == (["weights"] if criterion.needs == "none" else ["weights", "statistics"])
    assert set(keywords) == {*criterion.settings, *(["seed"] if criterion.seeded else [])}
    assert all(setting.help for setting in criterion.settings.values())
    assert re.match(r"Score each weight by .+: .+\.$", criterion.score.__doc__.splitlines()[0])


def test_an_option_that_a_criterion_does_not_have_is_an_error():
    with pytest.raises(TypeError, match="damping"):
        CRITERIA["magnitude"].scores({"a": np.ones(2)}, options={"damping": 0.1})


def test_criteria_load_no_torch():
    code = "import sys; from obtransfer.registry import CRITERIA; list(CRITERIA.values()); print('torch' in sys.modules)"
    path = str(PAGE.parents[1] / "workflow_scripts")
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert run.stdout.decode().strip() == "False"


def test_the_page_on_criteria_shows_the_registry():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "run workflow_scripts/tools/criteria_tables.py"
