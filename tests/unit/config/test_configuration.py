"""Good configurations pass; bad ones are told, all at once, in words."""

import copy
import enum
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from obtransfer.config.check import check
from obtransfer.config.schema import ANNOTATIONS, KEYWORDS, SCHEMA_PATH, problems, read_schema
from obtransfer.errors import ObtransferError
from obtransfer.registry import ALLOCATIONS, BACKBONES, CRITERIA, ESTIMATORS, TASKS

ROOT = Path(__file__).resolve().parents[3]
GOOD = """
results: results
data:
  seed: 0
  images_per_class: {train: 40, calibration: 20, validation: 20, test: 50}
suites:
  all: [upper, lower, digits]
  unseen: [hebrew, upper]
grid:
  backbones: [miniresnet.supervised, minivit.dino]
  sources: [upper, lower]
  criteria: [magnitude, obd, obs, random]
  allocations: [global, uniform]
  sparsities: [0.5, 0.7, 0.95]
  batchnorm: [keep, recalibrate]
  seeds: [0, 1]
  finetune: [keep]
criteria:
  obd: {criterion: obd, estimator: ggn, damping: 0, damping_mode: relative}
  obs: {criterion: obs, estimator: ggn, block_size: 16, damping: 0.1}
heads: {alpha: 1.0}
curvature: {num_examples: 200, batch_size: 50, loss: squared_error, num_samples: 1, num_probes: 100, shares: 1}
finetune: {epochs: 90, batch_size: 32, learning_rate: 0.01, momentum: 0.9, weight_decay: 1.0e-4,
  schedule: multistep, milestones: [30, 60, 80], gamma: 0.1, batchnorm: frozen}
evaluate: {batch_size: 250}
"""
GONE = enum.Enum("Removed", "KEY").KEY  # its name is the same in every process


PARSED = yaml.safe_load(GOOD)


def good():
    return copy.deepcopy(PARSED)


def changed(*changes):
    """The good configuration with (path, value) set or, for GONE, removed."""
    config = good()
    for path, value in changes:
        *parents, last = path.split(".")
        target = config
        for key in parents:
            target = target[key]
        if value is GONE:
            del target[last]
        else:
            target[last] = value
    return config


def lines(config):
    """What `check` tells, line by line."""
    with pytest.raises(ObtransferError) as caught:
        check(config)
    head, *rest = str(caught.value).split("\n  ")
    assert head == f"the configuration has {len(rest)} error{'s' if len(rest) > 1 else ''}:"
    return rest


def test_a_good_configuration_passes_and_is_not_changed():
    config = good()
    before = copy.deepcopy(config)
    check(config)
    assert config == before


def test_criteria_may_be_left_out_when_none_needs_settings():
    check(changed(("criteria", GONE), ("grid.criteria", ["magnitude", "random"])))


def merged(config, changes):
    """As Snakemake reads a second configuration file: mappings are merged, all else is replaced."""
    both = config | changes
    for key in config.keys() & changes.keys():
        if isinstance(config[key], dict) and isinstance(changes[key], dict):
            both[key] = merged(config[key], changes[key])
    return both


@pytest.mark.parametrize(
    "path",
    [None, *sorted(ROOT.glob("resources/configs/*.yaml"))],
    ids=lambda path: path.name if path else "config.yaml",
)
def test_configurations_that_ship_pass(path):
    default = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    check(merged(default, yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}))


# Change, and the whole line it must cause (or its beginning, where the line goes on with "...").
BAD = [
    # Unknown and missing keys.
    (
        "grid.sparsitys",
        [0.5],
        "grid.sparsitys: unknown key; did you mean 'sparsities'? known here: backbones, ...",
    ),
    ("seed", 1, "seed: unknown key; known here: results, data, ..."),
    ("finetune.lr", 0.1, "finetune.lr: unknown key; known here: epochs, ..."),
    ("criteria.obd.dampening", 1, "criteria.obd.dampening: unknown key; did you mean 'damping'? ..."),
    ("data.images_per_class.tset", 5, "data.images_per_class.tset: unknown key; did you mean 'test'? ..."),
    ("evaluate", GONE, "evaluate: missing; needed a mapping"),
    (
        "data.images_per_class.test",
        GONE,
        "data.images_per_class.test: missing; needed a whole number (accuracies)",
    ),
    ("criteria.obs.criterion", GONE, "criteria.obs.criterion: missing; needed text (a criterion's name)"),
    # Types.
    ("grid", None, "grid: got nothing; needed a mapping (every combination of these is computed)"),
    ("grid.seeds", 0, "grid.seeds: got 0; needed a list (each chooses ..."),
    ("grid.finetune", True, "grid.finetune: got true; needed a list (..."),
    (
        "grid.finetune",
        ["trained"],
        "grid.finetune[0]: got the text 'trained'; needed one of keep, recalibrate",
    ),
    (
        "heads.alpha",
        "1e-4",
        "heads.alpha: got the text '1e-4'; needed a finite number (ridge penalty); YAML reads ...",
    ),
    ("heads.alpha", float("nan"), "heads.alpha: got nan; needed a finite number (ridge penalty)"),
    ("heads.alpha", float("inf"), "heads.alpha: got inf; needed a finite number (ridge penalty)"),
    ("finetune.epochs", 1.0, "finetune.epochs: got 1.0; needed a whole number"),
    ("finetune.epochs", True, "finetune.epochs: got true; needed a whole number"),
    (
        "suites.all",
        ["upper", "lower", False],
        "suites.all[2]: got false; needed text (a task's name); YAML reads yes...",
    ),
    ("suites", {1: ["upper", "lower"]}, "suites.1: the key 1 is not text; write it in quotes"),
    (
        "results",
        ["a"],
        "results: got the list ['a']; needed text (the folder that holds everything that is made)",
    ),
    # Ranges.
    (
        "grid.sparsities",
        [0.5, 1.5],
        "grid.sparsities[1]: got 1.5; needed a finite number, less than 1 (the fraction ...",
    ),
    ("grid.sparsities", [-0.1], "grid.sparsities[0]: got -0.1; needed a finite number, more than 0 (..."),
    (
        "grid.sparsities",
        [0],
        "grid.sparsities[0]: got 0; needed a finite number, more than 0 (the fraction of weights that is ...",
    ),
    ("grid.seeds", [-1], "grid.seeds[0]: got -1; needed a whole number, at least 0"),
    ("finetune.learning_rate", 0, "finetune.learning_rate: got 0; needed a finite number, more than 0 (..."),
    ("finetune.momentum", 1, "finetune.momentum: got 1; needed a finite number, less than 1"),
    ("finetune.weight_decay", -0.1, "finetune.weight_decay: got -0.1; needed a finite number, at least 0"),
    ("finetune.gamma", 1.5, "finetune.gamma: got 1.5; needed a finite number, at most 1"),
    ("evaluate.batch_size", 0, "evaluate.batch_size: got 0; needed a whole number, at least 1 (..."),
    (
        "data.images_per_class.train",
        0,
        "data.images_per_class.train: got 0; needed a whole number, at least 1 (...",
    ),
    ("criteria.obd.damping", -1, "criteria.obd.damping: got -1; needed a finite number, at least 0 (λ ..."),
    ("criteria.obs.block_size", 0, "criteria.obs.block_size: got 0; needed a whole number, at least 1 (..."),
    ("results", "", "results: got the text ''; needed at least 1 (the folder ..."),
    # Empty axes.
    ("grid.sources", [], "grid.sources: got an empty list; needed at least 1 (tasks ..."),
    ("grid.backbones", [], "grid.backbones: got an empty list; needed at least 1"),
    ("suites.unseen", [], "suites.unseen: got an empty list; needed at least 1"),
    # Words.
    (
        "criteria.obs.damping",
        "chosen",
        "damping_choice: missing; needed the candidates for the damping of obs",
    ),
    (
        "grid.criteria",
        ["px"],
        "grid.criteria[0]: px is not defined for networks with attention, and grid.backbones has minivit...",
    ),
    (
        "finetune.schedule",
        "cosin",
        "finetune.schedule: got the text 'cosin'; needed one of multistep, cosine, constant; did ...",
    ),
    (
        "grid.batchnorm",
        ["recalibrated"],
        "grid.batchnorm[0]: got the text 'recalibrated'; needed one of keep, recalibrate; did you ...",
    ),
    (
        "criteria.obd.damping_mode",
        "rel",
        "criteria.obd.damping_mode: got the text 'rel'; needed one of relative, ...",
    ),
    (
        "suites.unseen",
        ["greeck"],
        "suites.unseen[0]: unknown task 'greeck'; did you mean 'greek'? there are: upper, ...",
    ),
    (
        "grid.sources",
        ["uper"],
        "grid.sources[0]: unknown task 'uper'; did you mean 'upper'? there are: upper, ...",
    ),
    (
        "grid.allocations",
        ["Global"],
        "grid.allocations[0]: unknown allocation 'Global'; did you mean 'global'? there are: ...",
    ),
    (
        "grid.backbones",
        ["miniresnet.clip"],
        "grid.backbones[0]: unknown pretraining of miniresnet: 'clip'; there are: supervised, mocov2, dino",
    ),
    (
        "grid.backbones",
        ["minivit.dinov2"],
        "grid.backbones[0]: unknown pretraining of minivit: 'dinov2'; did you mean 'dino'? there are: ...",
    ),
    (
        "grid.backbones",
        ["miniresnt.dino"],
        "grid.backbones[0]: unknown backbone 'miniresnt.dino'; did you mean 'miniresnet.dino'? there ...",
    ),
    (
        "grid.criteria",
        ["magnitud"],
        "grid.criteria[0]: unknown criterion or label 'magnitud'; did you mean 'magnitude'? there are: ...",
    ),
    (
        "criteria.obd.criterion",
        "obdd",
        "criteria.obd.criterion: unknown criterion 'obdd'; did you mean 'obd'? ...",
    ),
    (
        "criteria.obd.estimator",
        "gnn",
        "criteria.obd.estimator: unknown estimator (of diagonal curvature) 'gnn'; did you mean 'ggn'? ...",
    ),
    # Names.
    (
        "suites.Big-Suite",
        ["upper"],
        "suites.Big-Suite: got the name 'Big-Suite'; needed small letters, digits ...",
    ),
    ("criteria.2nd", {"criterion": "random"}, "criteria.2nd: got the name '2nd'; needed small letters, ..."),
    (
        "criteria.dense",
        {"criterion": "random"},
        "criteria.dense: the label 'dense' is reserved for the model that is not pruned; choose another",
    ),
    (
        "criteria.magnitude",
        {"criterion": "random"},
        "criteria.magnitude: the label 'magnitude' is a criterion, but its settings say ...",
    ),
    # Duplicates.
    (
        "grid.sparsities",
        [0.5, 0.7, 0.50],
        "grid.sparsities[2]: 0.5 is in this list already, at [0]; remove one",
    ),
    ("grid.seeds", [1, 1], "grid.seeds[1]: 1 is in this list already, at [0]; remove one"),
    (
        "suites.unseen",
        ["hebrew", "hebrew"],
        "suites.unseen[1]: the text 'hebrew' is in this list already, ...",
    ),
    # Several keys.
    (
        "grid.sources",
        ["greek"],
        "grid.sources[0]: the source 'greek' is in no suite and would never be evaluated; add it to one",
    ),
    (
        "curvature.num_examples",
        201,
        "curvature.num_examples: got 201; needed at most 200 (10 classes × ...",
    ),
    (
        "finetune.milestones",
        [],
        "finetune.milestones: got none; needed at least one, since finetune.schedule is ...",
    ),
    (
        "finetune.milestones",
        GONE,
        "finetune.milestones: got none; needed at least one, since finetune.schedule is ...",
    ),
    ("finetune.milestones", [60, 30], "finetune.milestones: got the list [60, 30]; needed growing epochs"),
    ("criteria.obd.estimator", GONE, "criteria.obd.estimator: missing; obd needs it"),
    ("criteria.obd.damping", GONE, "criteria.obd.damping: missing; obd needs it"),
    ("criteria.obs.block_size", GONE, "criteria.obs.block_size: missing; obs needs it"),
    ("criteria.obd.block_size", 16, "criteria.obd.block_size: obd does not read it; remove it"),
    (
        "criteria.obs.damping",
        0,
        "criteria.obs.damping: got 0; needed more than 0, since obs inverts what may be singular",
    ),
    (
        "criteria.obs.damping",
        0.0,
        "criteria.obs.damping: got 0; needed more than 0, since obs inverts what may be singular",
    ),
    (
        "criteria.mag",
        {"criterion": "magnitude", "estimator": "ggn"},
        "criteria.mag.estimator: magnitude does not read it; remove it",
    ),
    (
        "criteria.chance",
        {"criterion": "random", "damping": 0.1},
        "criteria.chance.damping: random does not read it; remove it",
    ),
    (
        "criteria.obs",
        GONE,
        "grid.criteria[2]: 'obs' needs settings (estimator, block_size, damping); define it ...",
    ),
    (
        "criteria.obs.estimator",
        "hessian",
        "criteria.obs.estimator: unknown estimator (of block curvature) 'hessian'; there are: ggn, ...",
    ),
    (
        "criteria.obs.block_size",
        "rows",
        "criteria.obs.block_size: got the text 'rows'; needed a number or 'row'",
    ),
    (
        "criteria.obs.damping",
        "best",
        "criteria.obs.damping: got the text 'best'; needed a number or 'chosen'",
    ),
    ("criteria.obd.update", "joint", "criteria.obd.update: obd does not read it; remove it"),
    ("criteria.obs.negative", "abs", "criteria.obs.negative: obs does not read it; remove it"),
    (
        "criteria.s",
        {"criterion": "snip", "estimator": "ggn"},
        "criteria.s.estimator: snip does not read it; remove it",
    ),
    ("criteria.obs.schedule", "cubic", "criteria.obs.schedule: is read with rounds of 2 or more; ..."),
    ("criteria.obs.rounds", 0, "criteria.obs.rounds: got 0; needed a whole number, at least 1 (weights ..."),
    (
        "grid.allocations",
        ["n_of_16"],
        "grid.allocations[0]: n_of_16 needs sparsities that are multiples of 1/16; got 0.7, 0.95; compute ...",
    ),
    ("curvature.loss", "hinge", "curvature.loss: unknown loss 'hinge'; there are: squared_error, ..."),
    (
        "curvature.num_examples",
        9,
        "curvature.num_examples: got 9; needed at least 10, one of every class of ...",
    ),
    ("curvature.shares", 0, "curvature.shares: got 0; needed a whole number, at least 1 (jobs ..."),
]


@pytest.mark.parametrize(
    ("path", "value", "expected"), BAD, ids=[f"{path}={value!r:.20}" for path, value, _ in BAD]
)
def test_one_error_is_told_in_one_line(path, value, expected):
    (line,) = lines(changed((path, value)))
    if expected.endswith("..."):
        assert line.startswith(expected.removesuffix("...")) and len(line) > len(expected)
    else:
        assert line == expected


def test_the_zero_sparsity_is_explained():
    (line,) = lines(changed(("grid.sparsities", [0])))
    assert line.endswith("; 0 is the dense model, which is always in the grid)")


def test_all_errors_are_told_at_once():
    changes = {path: (value, expected) for path, value, expected in BAD if "." in path and value is not GONE}
    for part_of_another in ("suites.all", "criteria.obd.criterion"):
        del changes[part_of_another]
    found = lines(changed(*((path, value) for path, (value, _) in changes.items())))
    assert len(changes) > 25
    for path in changes:
        assert any(line.startswith(path) for line in found), path


def test_groups_of_weights_are_not_removed_in_rounds():
    (line,) = lines(
        changed(
            ("grid.allocations", ["n_of_4"]),
            ("grid.sparsities", [0.5]),
            ("criteria.obs.rounds", 3),
        )
    )
    assert line.startswith(
        "grid.allocations[0]: n_of_4 removes a whole number of every 4 weights, and rounds do not; "
    )


def test_what_is_no_mapping_at_all():
    for config in (None, [], "results"):
        (line,) = lines(config)
        assert line.startswith("the configuration: got") and line.endswith("needed a mapping")
    assert len(lines({})) == 8


def test_wrong_types_everywhere_break_nothing():
    """Rules that read several keys must survive keys that hold something else."""
    paths = [
        f"{top}.{key}" for top, section in good().items() if isinstance(section, dict) for key in section
    ]
    for value in (None, 1, "x", [], {}, [[1]], {"a": {"b": 1}}, [None], {None: None}, [{}]):
        for path in [*good(), *paths]:
            try:
                check(changed((path, value)))
            except ObtransferError as error:
                assert path in str(error)


def test_the_schema_is_valid_closed_and_leaves_names_to_the_registry():
    import jsonschema

    schema = read_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    registered = set().union(ALLOCATIONS, BACKBONES, CRITERIA, ESTIMATORS, TASKS)
    for node in nodes(schema):
        assert set(node) <= KEYWORDS | ANNOTATIONS, set(node) - KEYWORDS - ANNOTATIONS
        assert not registered & set(map(str, node.get("enum", [])))
        if node.get("type") == "object":
            assert "additionalProperties" in node and node["additionalProperties"] is not True
            assert set(node.get("required", [])) <= set(node.get("properties", {}))
    assert SCHEMA_PATH == ROOT / "workflow_scripts" / "obtransfer" / "config" / "schema.yaml"


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, value, _ in BAD], ids=str)
def test_this_reading_of_the_schema_agrees_with_jsonschema(path, value):
    """Apart from what JSON cannot say: whole numbers as 1.0, NaN and infinity, keys that are not text."""
    import jsonschema

    config, schema = changed((path, value)), read_schema()
    if path == "suites" or (isinstance(value, float) and (value == 1.0 or not math.isfinite(value))):
        return
    assert bool(problems(config, schema)) != jsonschema.Draft202012Validator(schema).is_valid(config)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, yaml; from obtransfer.config.check import check; check(yaml.safe_load(sys.stdin));"
        "print(*{'torch', 'numpy', 'pandas', 'jsonschema', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=GOOD,
        capture_output=True,
        text=True,
        cwd=ROOT / "workflow_scripts",
        check=True,
    )
    assert done.stdout.strip() == ""


def nodes(schema):
    """Every schema inside a schema."""
    yield schema
    inner = [*schema.get("properties", {}).values()]
    inner += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]
    for node in inner:
        yield from nodes(node)


def test_what_is_fine_tuned_must_be_in_the_grid():
    config = good()
    config["grid"].update(batchnorm=["keep"], finetune=["keep", "recalibrate"])
    with pytest.raises(ObtransferError) as error:
        check(config)
    assert "grid.finetune[1]: got 'recalibrate'; needed one of grid.batchnorm: keep" in str(error.value)
