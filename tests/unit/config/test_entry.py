"""YAML's and Snakemake's surprises are dealt with where a configuration comes in, for all keys alike."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from obtransfer.config import load
from obtransfer.errors import ObtransferError
from obtransfer.settings import Configuration
from snakemake.cli import parse_config
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[3]
DEFAULT: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
TASKS = """
datasets: {photos: {kind: image_folder, root: /photos}}
tasks: {own: {dataset: photos, classes: [CLASSES]}}
"""


def read(tmp_path: Path, *texts: str, command_line: list[str] | None = None) -> Configuration:
    """As Snakemake reads config.yaml, other files on top of it, and ``--config``."""
    files = [ROOT / "config.yaml"]
    for index, text in enumerate(texts):
        files.append(tmp_path / f"{index}.yaml")
        files[-1].write_text(text, encoding="utf-8")
    config: dict[str, Any] = {}
    for file in files:
        update_config(config, load_configfile(file))
    update_config(config, parse_config(command_line or []))
    return load(config, files[::-1])  # Snakemake puts its own file last


def refused(tmp_path: Path, *texts: str) -> list[str]:
    with pytest.raises(ObtransferError) as caught:
        read(tmp_path, *texts)
    return str(caught.value).split("\n  ")[1:]


@pytest.mark.parametrize(
    ("text", "expected"), [("1e-3", 0.001), ("5E2", 500.0), ("+.5", 0.5), ("3", 3.0), ("'0.25'", 0.25)]
)
def test_text_becomes_a_number_where_a_number_is_declared(tmp_path: Path, text: str, expected: float) -> None:
    assert read(tmp_path, f"heads: {{alpha: {text}}}").heads.alpha == expected
    assert read(tmp_path, f"finetune: {{learning_rate: {text}}}").finetune.learning_rate == expected
    label = f"criteria: {{mine: {{criterion: obd, estimator: ggn, damping: {text}}}}}"
    assert read(tmp_path, label).criteria["mine"].options["damping"] == expected
    assert read(tmp_path, f"damping_choice: {{candidates: [{text}], sparsities: [0.5]}}").damping_choice


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1_000e3", "0x", "١", "1e-3 ", "infinity", "nan", ""])
def test_other_text_is_no_number(tmp_path: Path, text: str) -> None:
    (line,) = refused(tmp_path, f"heads: {{alpha: {text!r}}}")
    assert line.startswith(f"heads.alpha: got the text {text!r}; needed a number, above 0")


def test_values_of_the_command_line_are_numbers_too(tmp_path: Path) -> None:
    """Snakemake leaves every value inside a mapping as text."""
    words = ['grid={"sparsities": [0.7, 0.80], "seeds": [3]}', 'weights={"offline": true}']
    words += ['criteria={"obs": {"block_size": 32}}', 'curvature={"num_samples": 2, "num_examples": 100}']
    words += ['tasks={"own": {"dataset": "photos", "classes": [14, 0017, cat]}}']
    words += ['data={"images_per_class": {"train": rest, "test": 40}}', "results=elsewhere"]
    found = read(tmp_path, TASKS.replace("CLASSES", "a, b"), command_line=words)
    assert (found.grid.sparsities, found.grid.seeds) == ((0.7, 0.8), (3,))
    assert found.criteria["obs"].structure_options == {"block_size": 32}
    assert (found.curvature.options["num_samples"], found.curvature.num_examples) == (2, 100)
    assert found.tasks["own"].classes == ("14", "0017", "cat")
    assert (found.data.images_per_class.train, found.data.images_per_class.test) == ("rest", 40)
    assert (found.weights.offline, found.results) == (True, "elsewhere")


def test_numbers_keep_all_their_digits() -> None:
    chance = random.Random(0)
    for _ in range(200):
        value = chance.uniform(0, 1) * 10.0 ** chance.randrange(-30, 30)
        config = DEFAULT | {
            "heads": {"alpha": value},
            "finetune": {**DEFAULT["finetune"], "learning_rate": repr(value)},
        }
        found = load(config)
        assert found.heads.alpha == found.finetune.learning_rate == value


MISREAD = ["00014", "010", "1_000", "0x1F", "0b11", "1:30", "-0", "+5", "+010"]


@pytest.mark.parametrize("text", MISREAD)
def test_a_name_that_yaml_reads_as_a_number_is_never_another_class(tmp_path: Path, text: str) -> None:
    number = yaml.safe_load(text)
    assert isinstance(number, int)
    (line,) = refused(tmp_path, TASKS.replace("CLASSES", f"cat, {text}"))
    start = (
        f"tasks.own.classes[1]: got {text}, which YAML reads as the number {number}; write '{text}' in quotes"
    )
    assert line.startswith(start)
    quoted = read(tmp_path, TASKS.replace("CLASSES", f"cat, '{text}'"))
    assert quoted.tasks["own"].classes == ("cat", text)


@pytest.mark.parametrize(
    "text", ["yes", "No", "on", "2024-01-02", "null", "~", "1.5", "1.0e+3", ".5", "2001-12-14 21:59:43"]
)
def test_a_name_that_yaml_reads_as_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (line,) = refused(tmp_path, TASKS.replace("CLASSES", f"cat, {text}"))
    assert line.startswith("tasks.own.classes[1]: got ") and "quotes" in line
    assert read(tmp_path, TASKS.replace("CLASSES", f"cat, '{text}'")).tasks["own"].classes == ("cat", text)


def test_plain_indices_and_names_mix(tmp_path: Path) -> None:
    found = read(tmp_path, TASKS.replace("CLASSES", "0, 17, '17', \"00017\", 1e3, 0o14, cat"))
    assert found.tasks["own"].classes == (0, 17, "17", "00017", "1e3", "0o14", "cat")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("grid: {seeds: [010]}", "grid.seeds[0]"),
        ("finetune: {epochs: 1:30}", "finetune.epochs"),
        ("suites: {all: [010, upper]}", "suites.all[0]"),
        ("grid: {sources: [010]}", "grid.sources[0]"),
        ("results: 0777", "results"),
        ("heads: {alpha: 1_0.5}", "heads.alpha"),
    ],
)
def test_numbers_are_in_plain_digits_everywhere(tmp_path: Path, text: str, place: str) -> None:
    (line,) = refused(tmp_path, text)
    assert line.startswith(f"{place}: got ") and "which YAML reads as the number" in line


def test_the_text_of_every_file_counts(tmp_path: Path) -> None:
    """Snakemake lists files in another order than it merges them."""
    octal, other = "grid: {seeds: [010]}", "grid: {seeds: [9]}"
    for texts in ((octal, "heads: {alpha: 2}"), ("heads: {alpha: 2}", octal), (other, octal)):
        (line,) = refused(tmp_path, *texts)
        assert line.startswith("grid.seeds[0]: got 010, which YAML reads as the number 8; ")
    assert read(tmp_path, octal, other).grid.seeds == (9,)
    assert read(tmp_path, octal, command_line=['grid={"seeds": [9]}']).grid.seeds == (9,)


def test_templates_anchors_and_json_are_read_as_snakemake_reads_them(tmp_path: Path) -> None:
    assert read(tmp_path, "__use_yte__: true\ngrid: {seeds: ['?4 + 4']}").grid.seeds == (8,)
    assert read(tmp_path, "grid: &grid {seeds: [8]}\nheads: {alpha: 2}").heads.alpha == 2
    assert read(tmp_path, '{"grid": {"seeds": [8]}}').grid.seeds == (8,)


def test_names_are_text(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, "suites: {010: [upper]}")
    assert line == "suites.8: the key 8 is not text; write it in quotes"
    (line,) = refused(tmp_path, "grid: {sources: [yes]}")
    assert line.startswith("grid.sources[0]: got true; needed text; YAML reads yes, no, on and off as true")


def test_home_folders_are_expanded_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = load(
        DEFAULT
        | {
            "results": "~/results/",
            "weights": {"mirror": "~/mirror", "lock": "~/lock.yaml"},
            "datasets": {"photos": {"kind": "image_folder", "root": "~/a%20b ~"}},
            "backbones": {"resnet50.mine": {"format": "local", "address": "~/weights%2F1.pth"}},
        }
    )
    assert found.results == "/home/me/results"
    assert (found.weights.mirror, found.weights.lock) == ("/home/me/mirror", "/home/me/lock.yaml")
    assert found.datasets["photos"].root == "/home/me/a%20b ~"
    assert found.backbones["resnet50.mine"].address == "/home/me/weights%2F1.pth"


def test_values_that_no_setting_has_are_refused_with_their_place() -> None:
    junk: list[Any] = [10**400, 2**63, float("nan"), b"x", {1, 2}, 1j, "a\0b", "a\nb", "\ud800", object]
    for value in junk:
        for path in (("heads", "alpha"), ("results",), ("grid", "seeds", 0), ("criteria", "obd", "damping")):
            config = copy.deepcopy(DEFAULT)
            target: Any = config
            for key in path[:-1]:
                target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
            target[path[-1]] = value
            with pytest.raises(ObtransferError) as caught:
                load(config)
            (line,) = str(caught.value).split("\n  ")[1:]
            assert line.startswith(
                ("heads.alpha: got ", "results: got ", "grid.seeds[0]: got ", "criteria.obd.damping: got ")
            )
            assert len(line) < 300


def test_keys_of_any_type_are_refused() -> None:
    for key in (1, 10**5000, None, True, 2.5, (1, 10**5000), "a\0", "\ud800"):
        with pytest.raises(ObtransferError, match=r"the key|got the text"):
            load(DEFAULT | {key: 1})


def test_configurations_that_never_end_are_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    wide: Any = [0] * 10
    for _ in range(15):
        wide = [wide] * 10
    for config in (DEFAULT | {"grid": loop}, DEFAULT | {"grid": {"seeds": wide}}):
        with pytest.raises(ObtransferError, match="look for anchors"):
            load(config)


def test_settings_that_are_no_path_are_left_alone() -> None:
    """Nothing in a text is expanded or decoded but ~ at the beginning of a path."""
    names = ["~", "$HOME", "%41", "a{b}"]
    found = load(
        DEFAULT
        | {
            "datasets": {"photos": {"kind": "image_folder", "root": "$HOME/{a}"}},
            "tasks": {"own": {"dataset": "photos", "classes": names}},
        }
    )
    assert found.tasks["own"].classes == tuple(names)
    assert found.datasets["photos"].root == "$HOME/{a}"
