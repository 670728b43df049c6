"""Good configurations pass and are completed. All errors of bad ones are reported, each in one line."""

import copy
import enum
import subprocess
import sys
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
import yaml
from obtransfer.config import load
from obtransfer.config.describe import keys_of, members, split
from obtransfer.errors import ObtransferError
from obtransfer.settings import Configuration, CurvatureSettings, FinetuneSettings, Label

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
    """What `load` reports, line by line."""
    with pytest.raises(ObtransferError) as caught:
        load(config)
    head, *rest = str(caught.value).split("\n  ")
    assert head == f"the configuration has {len(rest)} error{'s' if len(rest) > 1 else ''}:"
    return rest


def merged(config, changes):
    """As Snakemake reads a second configuration file: mappings are merged, all else is replaced."""
    both = config | changes
    for key in config.keys() & changes.keys():
        if isinstance(config[key], dict) and isinstance(changes[key], dict):
            both[key] = merged(config[key], changes[key])
    return both


def test_a_good_configuration_is_complete_and_the_given_one_unchanged():
    config = good()
    before = copy.deepcopy(config)
    found = load(config)
    assert config == before
    assert found.grid.sparsities == (0.5, 0.7, 0.95)
    assert found.criteria["obs"] == Label(
        criterion="obs",
        estimator="ggn",
        options={"damping": 0.1, "damping_mode": "relative"},
        structure_options={"block_size": 16},
    )
    assert found.criteria["synflow"] == Label(criterion="synflow")
    assert found.curvature == CurvatureSettings(
        options={"loss": "squared_error", "num_samples": 1, "num_probes": 100}
    )
    assert (found.precision, found.evaluate.batch_size, found.damping_choice) == ("float32", 250, None)


def test_sections_and_keys_with_defaults_may_be_left_out():
    whole = load(good())
    short = changed(*((name, GONE) for name in ("results", "heads", "curvature", "evaluate")))
    for name in ("momentum", "weight_decay", "gamma", "batchnorm"):
        del short["finetune"][name]
    assert load(short) == whole
    assert load(changed(("criteria", GONE), ("grid.criteria", ["magnitude", "random"]))).criteria["snip"]


def test_settings_are_declared_without_defaults_elsewhere():
    """Every key of every section has a type that messages and the page on the configuration can describe."""
    known = {int, float, str, bool}

    def visit(annotation):
        for member in members(annotation):
            core = split(member)[0]
            if is_dataclass(core):
                for inner in keys_of(core).values():
                    visit(inner)
            elif get_args(core):
                assert split(member)[0] is core
            else:
                assert core in known, core

    for section in fields(Configuration):
        if section.name not in ("criteria", "curvature"):
            visit(keys_of(Configuration)[section.name])


@pytest.mark.parametrize(
    "path",
    [None, *sorted(ROOT.glob("resources/configs/*.yaml"))],
    ids=lambda path: path.name if path else "config.yaml",
)
def test_configurations_that_ship_pass(path):
    files = [ROOT / "config.yaml", *([path] if path else [])]
    config = {}
    for file in files:
        config = merged(config, yaml.safe_load(file.read_text(encoding="utf-8")))
    found = load(config, files)
    assert found.precision == ("bfloat16" if path and path.name == "paper.yaml" else "float32")
    assert set(found.grid.criteria) <= set(found.criteria)


def test_the_default_configuration_writes_defaults_only_where_they_help():
    """config.yaml shows the grid. What it leaves out has the declared default."""
    found = load(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    assert found.finetune == FinetuneSettings(epochs=3, learning_rate=0.01)
    assert found.curvature.num_examples == 200


# Change, and the whole line it must cause (or its beginning, where the line goes on with "...").
BAD = [
    ('grid.sparsitys', [0.5], "grid.sparsitys: unknown key; did you mean 'sparsities'? known here: backbones, sources, criteria, allocations, sparsities, batchnorm, seeds, finetune"),
    ('seed', 1, 'seed: unknown key; known here: results, precision, data, backbones, weights, datasets, tasks, suites, grid, criteria, damping...'),
    ('finetune.lr', 0.1, 'finetune.lr: unknown key; known here: epochs, batch_size, learning_rate, momentum, weight_decay, schedule, milestones, gamma, batchnorm, augmentation'),
    ('criteria.obd.dampening', 1, "criteria.obd.dampening: unknown key; did you mean 'damping'? known here: criterion, estimator, rounds, schedule, damping, damping_mode, negative"),
    ('data.images_per_class.tset', 5, "data.images_per_class.tset: unknown key; did you mean 'test'? known here: train, calibration, validation, test"),
    ('data.images_per_class.test', GONE, "data.images_per_class.test: missing; needed a whole number, at least 1, or 'rest' (images for measuring accuracy)"),
    ('criteria.obs.criterion', GONE, "criteria.obs.criterion: missing; needed text (name of a criterion)"),
    ('grid', None, 'grid: got nothing; needed a mapping (every combination of these is computed)'),
    ('grid.seeds', 0, 'grid.seeds: got 0; needed a list that is not empty (seeds for calibration images, random draws and fine-tuning)'),
    ('grid.finetune', True, 'grid.finetune: got true; needed a list (entries of grid.batchnorm whose models are also fine-tuned)'),
    ('grid.finetune', ['trained'], "grid.finetune[0]: got the text 'trained'; needed one of keep, recalibrate"),
    ('heads.alpha', float("nan"), 'heads.alpha: got nan; needed a finite number'),
    ('heads.alpha', float("inf"), 'heads.alpha: got inf; needed a finite number'),
    ('finetune.epochs', 1.0, 'finetune.epochs: got 1.0; needed a whole number, at least 1 (number of passes over the train split)'),
    ('finetune.epochs', True, 'finetune.epochs: got true; needed a whole number, at least 1 (number of passes over the train split)'),
    ('suites.all', ['upper', 'lower', False], 'suites.all[2]: got false; needed text; YAML reads yes, no, on and off as true or false: use quotes'),
    ('suites', {1: ['upper', 'lower']}, 'suites.1: the key 1 is not text; write it in quotes'),
    ('results', ['a'], "results: got the list ['a']; needed text that is not empty (folder for everything that the workflow makes)"),
    ('grid.sparsities', [0.5, 1.5], 'grid.sparsities[1]: got 1.5; needed a number, above 0 and below 1 (fraction of the prunable weights to remove; the dense model,...'),
    ('grid.sparsities', [-0.1], 'grid.sparsities[0]: got -0.1; needed a number, above 0 and below 1 (fraction of the prunable weights to remove; the dense model...'),
    ('grid.sparsities', [0], 'grid.sparsities[0]: got 0; needed a number, above 0 and below 1 (fraction of the prunable weights to remove; the dense model, 0, is always included)'),
    ('grid.seeds', [-1], 'grid.seeds[0]: got -1; needed a whole number, at least 0'),
    ('finetune.learning_rate', 0, 'finetune.learning_rate: got 0; needed a number, above 0 (initial learning rate, for the loss ½ Σ (output − one-hot)²)'),
    ('finetune.momentum', 1, "finetune.momentum: got 1; needed a number, at least 0 and below 1 (μ in v ← μ v + g, w ← w − η v, as in torch)"),
    ('finetune.weight_decay', -0.1, 'finetune.weight_decay: got -0.1; needed a number, at least 0 (L2 penalty on all trained parameters, including norms and biases)'),
    ('finetune.gamma', 1.5, 'finetune.gamma: got 1.5; needed a number, above 0 and at most 1 (factor of multistep)'),
    ('evaluate.batch_size', 0, 'evaluate.batch_size: got 0; needed a whole number, at least 1 (images per forward pass; for speed and memory only)'),
    ('data.images_per_class.train', 0, "data.images_per_class.train: got 0; needed a whole number, at least 1, or 'rest' (images for fitting heads and for fine-tuning)"),
    ('criteria.obd.damping', -1, "criteria.obd.damping: got -1; needed a number, at least 0, or 'chosen' (λ that is added to the diagonal of the curvature)"),
    ('criteria.obs.block_size', 0, "criteria.obs.block_size: got 0; needed a whole number, at least 1, or 'row' (number of consecutive weights in a block..."),
    ('results', '', "results: got the text ''; needed text that is not empty (folder for everything that the workflow makes)"),
    ('grid.sources', [], 'grid.sources: got an empty list; needed a list that is not empty (tasks on whose images models are pruned and fine-tuned)'),
    ('grid.backbones', [], 'grid.backbones: got an empty list; needed a list that is not empty (names of backbones: architecture.pretraining)'),
    ('suites.unseen', [], 'suites.unseen: got an empty list; needed a list that is not empty (names of tasks)'),
    ('criteria.obs.damping', 'chosen', 'damping_choice: missing; needed the candidates for the damping of obs'),
    ('grid.criteria', ['px'], 'grid.criteria[0]: px is not defined for networks with attention, and grid.backbones has minivit.dino; compute it in a grid of convolutional backbones'),
    ('finetune.schedule', 'cosin', "finetune.schedule: got the text 'cosin'; needed one of multistep, cosine, constant (multistep multiplies the learning rate by ga..."),
    ('grid.batchnorm', ['recalibrated'], "grid.batchnorm[0]: got the text 'recalibrated'; needed one of keep, recalibrate; did you mean 'recalibrate'?"),
    ('criteria.obd.damping_mode', 'rel', "criteria.obd.damping_mode: got the text 'rel'; needed one of relative, absolute (whether damping is relative to the layer's mean diagonal)"),
    ('suites.unseen', ['greeck'], "suites.unseen[0]: unknown task 'greeck'; did you mean 'greek'? there are: upper, lower, digits, greek, cyrillic, armenian, ge..."),
    ('grid.sources', ['uper'], "grid.sources[0]: unknown task 'uper'; did you mean 'upper'? there are: upper, lower, digits, greek, cyrillic, armenian, georg..."),
    ('grid.allocations', ['Global'], "grid.allocations[0]: unknown allocation 'Global'; did you mean 'global'? there are: global, uniform, erk, n_of_4, n_of_8, n_of_16"),
    ('grid.backbones', ['miniresnet.clip'], "grid.backbones[0]: unknown pretraining of miniresnet: 'clip'; there are: supervised, mocov2, dino"),
    ('grid.backbones', ['minivit.dinov2'], "grid.backbones[0]: unknown pretraining of minivit: 'dinov2'; did you mean 'dino'? there are: supervised, mocov2, dino"),
    ('grid.backbones', ['miniresnt.dino'], "grid.backbones[0]: unknown backbone 'miniresnt.dino'; did you mean 'miniresnet.dino'? there are: miniresnet.supervised, minir..."),
    ('grid.criteria', ['magnitud'], "grid.criteria[0]: unknown criterion or label 'magnitud'; did you mean 'magnitude'? there are: obd, obs, magnitude, kfac_obs, ..."),
    ('criteria.obd.criterion', 'obdd', "criteria.obd.criterion: unknown criterion 'obdd'; did you mean 'obd'? there are: magnitude, obd, obs, kfac_obs, snip, grasp, synflow, px, random"),
    ('criteria.obd.estimator', 'gnn', "criteria.obd.estimator: got the text 'gnn'; needed one of ggn, mc_fisher, empirical_fisher, hessian (estimator of the curvature); did you mean 'ggn'?"),
    ('suites.Big-Suite', ['upper'], "suites.Big-Suite: got the name 'Big-Suite'; needed lower-case letters, digits and _, starting with a letter"),
    ('criteria.2nd', {'criterion': 'random'}, "criteria.2nd: got the name '2nd'; needed lower-case letters, digits and _, starting with a letter"),
    ('criteria.dense', {'criterion': 'random'}, "criteria.dense: the label 'dense' is reserved for the model that is not pruned; choose another"),
    ('criteria.magnitude', {'criterion': 'random'}, "criteria.magnitude: the label 'magnitude' is a criterion, but its settings say 'random'; rename the label"),
    ('grid.sparsities', [0.5, 0.7, 0.5], 'grid.sparsities[2]: 0.5 is in this list already, at [0]; remove one'),
    ('grid.seeds', [1, 1], 'grid.seeds[1]: 1 is in this list already, at [0]; remove one'),
    ('suites.unseen', ['hebrew', 'hebrew'], "suites.unseen[1]: the text 'hebrew' is in this list already, at [0]; remove one"),
    ('grid.sources', ['greek'], "grid.sources[0]: the source 'greek' is in no suite and would never be evaluated; add it to one"),
    ('curvature.num_examples', 201, 'curvature.num_examples: got 201; needed at most 200 (10 classes × 20 calibration images of lower)'),
    ('finetune.milestones', [], 'finetune.milestones: got none; needed at least one, since finetune.schedule is multistep'),
    ('finetune.milestones', GONE, 'finetune.milestones: got none; needed at least one, since finetune.schedule is multistep'),
    ('finetune.milestones', [60, 30], 'finetune.milestones: got the list [60, 30]; needed growing epochs'),
    ('criteria.obd.estimator', GONE, 'criteria.obd.estimator: missing; needed one of ggn, mc_fisher, empirical_fisher, hessian (estimator of the curvature)'),
    ('criteria.obd.damping', GONE, "criteria.obd.damping: missing; needed a number, at least 0, or 'chosen' (λ that is added to the diagonal of the curvature)"),
    ('criteria.obs.block_size', GONE, "criteria.obs.block_size: missing; needed a whole number, at least 1, or 'row' (number of consecutive weights in a block..."),
    ('criteria.obd.block_size', 16, 'criteria.obd.block_size: obd does not read it; remove it'),
    ('criteria.obs.damping', 0, "criteria.obs.damping: got 0; needed a number, above 0, or 'chosen' (λ that is added to the diagonal of the curvature)"),
    ('criteria.obs.damping', 0.0, "criteria.obs.damping: got 0.0; needed a number, above 0, or 'chosen' (λ that is added to the diagonal of the curvature)"),
    ('criteria.mag', {'criterion': 'magnitude', 'estimator': 'ggn'}, 'criteria.mag.estimator: magnitude does not read it; remove it'),
    ('criteria.chance', {'criterion': 'random', 'damping': 0.1}, 'criteria.chance.damping: random does not read it; remove it'),
    ('criteria.obs', GONE, "grid.criteria[2]: 'obs' needs settings (estimator, block_size, damping); define it under criteria"),
    ('criteria.obs.estimator', 'hessian', "criteria.obs.estimator: got the text 'hessian'; needed one of ggn, mc_fisher, empirical_fisher (estimator of the curvature)"),
    ('criteria.obs.block_size', 'rows', "criteria.obs.block_size: got the text 'rows'; needed a whole number, at least 1, or 'row' (number of consecutive weights in a block..."),
    ('criteria.obs.damping', 'best', "criteria.obs.damping: got the text 'best'; needed a number, above 0, or 'chosen' (λ that is added to the diagonal of the curvature)"),
    ('criteria.obd.update', 'joint', 'criteria.obd.update: obd does not read it; remove it'),
    ('criteria.obs.negative', 'abs', 'criteria.obs.negative: obs does not read it; remove it'),
    ('criteria.s', {'criterion': 'snip', 'estimator': 'ggn'}, 'criteria.s.estimator: snip does not read it; remove it'),
    ('criteria.obs.schedule', 'cubic', 'criteria.obs.schedule: it is read with rounds of 2 or more; remove it or add rounds'),
    ('criteria.obs.rounds', 0, 'criteria.obs.rounds: got 0; needed a whole number, at least 1 and at most 1000 (number of pruning rounds; each round...'),
    ('grid.allocations', ['n_of_16'], 'grid.allocations[0]: n_of_16 needs sparsities that are multiples of 1/16; got 0.7, 0.95; compute it in a grid of its own'),
    ('curvature.loss', 'hinge', "curvature.loss: got the text 'hinge'; needed one of squared_error, cross_entropy (the loss whose derivatives are taken)"),
    ('curvature.num_examples', 9, 'curvature.num_examples: got 9; needed at least 10, one of every class of upper'),
    ('curvature.shares', 0, 'curvature.shares: got 0; needed a whole number, at least 1 and at most 1000 (number of jobs that share the images; their results are merged)'),
    ('heads.alpha', 'fast', "heads.alpha: got the text 'fast'; needed a number, above 0 (ridge penalty)"),
    ('grid.sparsities', ['0.5', '1.5'], 'grid.sparsities[1]: got 1.5; needed a number, above 0 and below 1 (fraction of the prunable weights to remove; the dense model,...'),
    ('grid.seeds', [10**400], 'grid.seeds[0]: got a whole number of 1329 bits; needed a number below 2**63'),
    ('grid.seeds', ['x'], "grid.seeds[0]: got the text 'x'; needed a whole number, at least 0"),
    ('criteria.obs.criterion', [[]], "criteria.obs.criterion: got the list [[]]; needed text (name of a criterion)"),
    ('criteria.obs', [], 'criteria.obs: got an empty list; needed a mapping (one criterion with its settings)'),
    ('results', 'a{b}', "results: got the text 'a{b}'; needed a path without braces, Snakemake's sign of wildcards"),
    ('results', 'a\nb', "results: got the text 'a\\nb'; needed text without line breaks and control characters"),
    ('results', 'a\x00b', "results: got the text 'a\\x00b'; needed text without line breaks and control characters"),
    ('results', 'é' * 128, 'results: got a path of 256 bytes, 256 in its longest name; needed at most 1000 bytes, 255 in each name'),
    ('results', '/'.join(['a' * 200] * 6), 'results: got a path of 1205 bytes, 200 in its longest name; needed at most 1000 bytes, 255 in each name'),
    ('grid.sparsities', [1e-300], 'grid.sparsities[0]: got 302 characters in a name of files; needed at most 100'),
    ('criteria.' + 'a' * 101, {'criterion': 'random'}, 'criteria.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…: got 101 characters in a name of files; needed at most 100'),
    ('curvature.shares', 201, 'curvature.shares: got 201; needed at most 200, since every share needs one of curvature.num_examples'),
    ('precision', 'float16', "precision: got the text 'float16'; needed one of float32, bfloat16 (number format of evaluation and fine-tuning on a GPU; a C..."),
    ('curvature.num_sample', 3, "curvature.num_sample: unknown key; did you mean 'num_samples'? known here: num_examples, batch_size, shares, memory_gb, loss, num_samples, num_probes"),
    ('evaluate.mixed_precision', True, 'evaluate.mixed_precision: unknown key; known here: batch_size'),
    ('export', {'criteria': ['px']}, 'export.criteria[0]: px is not in grid.criteria: magnitude, obd, obs, random, dense; add it there'),
    ('export', {'stages': ['finetune']}, "export.stages[0]: got the text 'finetune'; needed one of pruned, finetuned; did you mean 'finetuned'?"),
    ('results', 2024, 'results: got 2024; needed text that is not empty (folder for everything that the workflow makes); YAML reads this as a number: use quotes'),
    ('results', date(2024, 1, 2), 'results: got the date 2024-01-02; needed text: write it in quotes'),
    ('finetune.momentum', None, "finetune.momentum: got nothing; needed a number, at least 0 and below 1 (μ in v ← μ v + g, w ← w − η v, as in torch)"),
    ('curvature.shares', 50000000, 'curvature.shares: got 50000000; needed a whole number, at least 1 and at most 1000 (number of jobs that share the images; their results are merged)'),
    ('criteria.synflow', {'criterion': 'synflow', 'rounds': 1000000000}, 'criteria.synflow.rounds: got 1000000000; needed a whole number, at least 1 and at most 1000 (number of pruning rounds; each r...'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "expected"), BAD, ids=[f"{path:.40}={value!r:.20}" for path, value, _ in BAD]
)
def test_each_error_is_one_line(path, value, expected):
    (line,) = lines(changed((path, value)))
    assert len(line) < 300 or path == "grid.backbones"  # with all names that there are
    if expected.endswith("..."):
        assert line.startswith(expected.removesuffix("...")) and len(line) > len(expected)
    else:
        assert line == expected


def test_one_invalid_key_hides_no_errors_of_others_in_its_section():
    found = lines(
        changed(
            ("grid.sparsities", [1.5]),
            ("grid.backbones", ["miniresnet.supervized"]),
            ("grid.sources", ["uper"]),
            ("finetune.epochs", 0),
            ("finetune.milestones", [60, 30]),
        )
    )
    starts = (
        "grid.sparsities[0]",
        "grid.backbones[0]",
        "grid.sources[0]",
        "finetune.epochs",
        "finetune.milestones",
    )
    assert all(any(line.startswith(f"{start}:") for line in found) for start in starts), found


def test_all_errors_are_reported_together():
    """An invalid section ends only the checks that read it."""
    found = lines(
        changed(
            ("results", "a{b}"),
            ("seed", 1),
            ("heads.alpha", "fast"),
            ("grid.backbones", ["miniresnet.clip"]),
            ("grid.sources", ["uper"]),
            ("grid.sparsities", [0.5, 0.5]),
            ("grid.allocations", ["Global"]),
            ("criteria.obd.dampening", 1),
            ("criteria.obs.estimator", "gnn"),
            ("finetune.milestones", [60, 30]),
            ("evaluate", []),
            ("datasets", {"photos": {"type": "image_folder", "root": 3}}),
        )
    )
    starts = ["results", "seed", "heads.alpha", "grid.backbones[0]", "grid.sources[0]", "grid.sparsities[1]"]
    starts += [
        "grid.allocations[0]",
        "criteria.obd.dampening",
        "criteria.obs.estimator",
        "finetune.milestones",
    ]
    starts += ["evaluate"] + [f"datasets.photos.{key}" for key in ("type", "root", "kind")]
    for start in starts:
        assert sum(line.startswith(f"{start}: ") for line in found) == 1, (start, found)
    assert len(found) == len(starts)


def test_groups_of_weights_are_not_removed_in_rounds():
    grid = (("grid.allocations", ["n_of_4"]), ("grid.sparsities", [0.5]), ("criteria.obs.rounds", 3))
    (line,) = lines(changed(*grid))
    assert line.startswith(
        "grid.allocations[0]: n_of_4 removes a whole number of every 4 weights, and rounds do not; "
    )


def test_the_update_is_for_one_round():
    (line,) = lines(changed(("criteria.obs.rounds", 3), ("criteria.obs.update", "joint")))
    assert line == "criteria.obs.update: the update is for masks made in one round; remove it or rounds"


def test_what_is_fine_tuned_must_be_in_the_grid():
    (line,) = lines(changed(("grid.batchnorm", ["keep"]), ("grid.finetune", ["keep", "recalibrate"])))
    assert line == "grid.finetune[1]: got 'recalibrate'; needed one of grid.batchnorm: keep"


def test_exports_of_what_is_not_fine_tuned():
    nothing_tuned = ("grid.finetune", [])
    (line,) = lines(changed(nothing_tuned, ("export", {"stages": ["finetuned"]})))
    assert line.startswith("export.stages: nothing is fine-tuned, since grid.finetune is empty; ")
    assert load(changed(nothing_tuned, ("export", {"criteria": ["obd", "dense"]}))).export


def test_what_is_no_mapping_at_all():
    for config in (None, [], "results"):
        (line,) = lines(config)
        assert line.startswith("the configuration: got") and line.endswith("needed a mapping")
    assert [line.partition(":")[0] for line in lines({})] == ["data", "suites", "grid", "finetune"]


def test_wrong_types_everywhere_break_nothing():
    """Checks that read several keys must survive keys that hold something else."""
    paths = [
        f"{top}.{key}" for top, section in good().items() if isinstance(section, dict) for key in section
    ]
    for value in (None, 1, "x", [], {}, [[1]], {"a": {"b": 1}}, [None], {None: None}, [{}]):
        for path in [*good(), *paths]:
            try:
                load(changed((path, value)))
            except ObtransferError as error:
                assert path in str(error)


def test_nothing_heavy_is_imported():
    """Every job on a cluster reads the configuration anew; the settings alone also come without pydantic."""
    read = "from obtransfer.config import load; load(yaml.safe_load(sys.stdin))"
    for code, heavy in (
        (read, {"torch", "pandas", "scipy", "sklearn", "timm", "torchvision", "matplotlib"}),
        ("import obtransfer.settings", {"torch", "numpy", "pydantic", "yaml"}),
    ):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; {'import yaml;' if code == read else ''} {code}; print(*{heavy} & set(sys.modules))",
            ],
            input=GOOD,
            capture_output=True,
            text=True,
            cwd=ROOT / "workflow_scripts",
            check=True,
        )
        assert done.stdout.strip() == ""
