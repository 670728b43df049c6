"""Mutations of the files that ship: a configuration is refused with the project's own error, or its grid can be planned."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obtransfer.config import load
from obtransfer.dag import grid
from obtransfer.errors import ObtransferError
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = ROOT / "config.yaml"
SHIPPED = (DEFAULT, *sorted(ROOT.glob("resources/configs/*.yaml")))
JUNK = (
    None, True, False, -1, 0, 1, 2, 10, 10**9, 2**63, 10**400, 0.0, 0.5, 1.0, -0.5, 1e-300, 1e300, float("nan"),
    float("inf"), "", " ", "x", "0.5", "010", "chosen", "row", "all", "rest", "dense", "keep", "obs", "hessian", "upper",
    "miniresnet.dino", "a{b}", "a\nb", "a\0b", "\ud800", "é" * 200, "a" * 300, "a/" * 600, "~", "~/x", "%41", "-x", "../..",
    [], [[]], [None], [0.5, 0.5], [1, "1"], ["x", "x"], ["recalibrate"], [[1]] * 3, {}, {"a": 1}, {None: 1}, {1: {}}, {"": ""},
    {"draw": 2}, {"draw": 10**9, "part": 10**9}, {"criterion": "obs"}, {"criterion": [[]]}, (1, 2), b"x", {1}, date(2024, 1, 2),
)  # fmt: skip
WORDS = (
    "010", "00014", "1:30", "1_000", "0x1F", "1e3", "1e-3", "yes", "null", "~", "2024-01-02", "''", "[]", "{}", "[[]]", "{a: 1}",
    ".inf", ".nan", "-1", "0", "1e400", "9" * 400, "&x [1]", "*x", "!!python/tuple [1]", "!!binary eA==", "? [a]", "<<: {a: 1}",
    "upper", "chosen", "'{a}'", '"\\0"', '"\\ud800"', "|", "- 1",
)  # fmt: skip
FEW, MANY = 100, 2000


def read(file: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    if file != DEFAULT:
        update_config(config, yaml.safe_load(file.read_text(encoding="utf-8")))
    return config


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys or indices."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The configuration of a file that ships, with one to three changes."""
    config = copy.deepcopy(read(draw(st.sampled_from(SHIPPED))))
    junk = st.sampled_from(JUNK).map(copy.deepcopy)
    for _ in range(draw(st.integers(1, 3))):
        every = [*places(config)]
        holder, key = draw(st.sampled_from(every))
        kind = draw(st.sampled_from(("replace", "remove", "add", "exchange", "repeat")))
        if kind == "remove":
            del holder[key]
        elif kind == "exchange":
            other, name = draw(st.sampled_from(every))
            holder[key] = copy.deepcopy(other[name])
        elif kind == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif kind == "add" and isinstance(holder, dict):
            name = draw(
                st.sampled_from(
                    (*JUNK[:40], "update", "rounds", "schedule", "damping", "memory_gb", "classes")
                )
            )
            holder[name] = draw(junk)
        else:
            holder[key] = draw(junk)
    return config


@st.composite
def mistyped(draw: st.DrawFn) -> str:
    """The text of a file that ships, with one to three words replaced."""
    lines = draw(st.sampled_from(SHIPPED)).read_text(encoding="utf-8").splitlines()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        words = lines[number].split(" ")
        place = draw(st.integers(0, len(words) - 1))
        ending = words[place].rstrip("abcdefghijklmnopqrstuvwxyz0123456789_.") if draw(st.booleans()) else ""
        words[place] = draw(st.sampled_from(WORDS)) + ending
        lines[number] = " ".join(words)
    return "\n".join(lines)


def is_refused_or_planned(config: Any, files: tuple[Path, ...] = ()) -> None:
    try:
        found = load(config, files)
    except ObtransferError as error:
        head, *lines = str(error).split("\n  ")
        assert head.startswith("the configuration has ") and lines
        assert all(line.isprintable() for line in lines)
        return
    assert load(config, files) == found
    paths = [path for _, path in grid.evaluations(found)] + [str(export) for export in grid.exports(found)]
    assert paths
    for path in {f"{found.results}/{path}" for path in paths}:
        assert not set(path) & set("{}\0\n")
        assert len(path.encode()) < 4096 and all(len(part.encode()) <= 255 for part in path.split("/"))


def tried(examples: int) -> Any:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=timedelta(seconds=60),  # a case takes milliseconds: this ends one that hangs
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.function_scoped_fixture,
            HealthCheck.data_too_large,
        ],
    )


@tried(FEW)
@given(mutated())
def test_few_mutations_are_refused_or_planned(config: dict[str, Any]) -> None:
    is_refused_or_planned(config)


@pytest.mark.slow
@tried(MANY)
@given(mutated())
def test_many_mutations_are_refused_or_planned(config: dict[str, Any]) -> None:
    is_refused_or_planned(config)


def as_snakemake_reads(text: str, folder: Path) -> None:
    try:
        changes = yaml.load(text, Loader=yaml.FullLoader)
    except (yaml.YAMLError, ValueError, TypeError):
        return  # Snakemake refuses the file
    file = folder / "mistyped.yaml"
    file.write_text(text, encoding="utf-8")
    config = read(DEFAULT)
    if isinstance(changes, dict):
        update_config(config, changes)
    is_refused_or_planned(config if isinstance(changes, dict) else changes, (DEFAULT, file))


@tried(FEW)
@given(mistyped())
def test_few_mistyped_files_are_refused_or_planned(tmp_path: Path, text: str) -> None:
    as_snakemake_reads(text, tmp_path)


@pytest.mark.slow
@tried(MANY)
@given(mistyped())
def test_many_mistyped_files_are_refused_or_planned(tmp_path: Path, text: str) -> None:
    as_snakemake_reads(text, tmp_path)
