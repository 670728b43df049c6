"""Statistics in groups of layers: memory is kept to, and what a killed run has done is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from obtransfer.artifacts import read_tensors
from obtransfer.errors import ObtransferError
from obtransfer.statistic import memory_limit, parse_structure, write_in_groups

GROUPS = [["a", "b"], ["c"], ["d"]]


class Killed(Exception):
    pass


def computing(calls: list[list[str]], kill: int = -1, value: float = 1.0):
    def compute(layers: Sequence[str]) -> dict[str, np.ndarray]:
        if len(calls) == kill:
            raise Killed
        calls.append(list(layers))
        return {name: np.full(3, value) for name in layers}

    return compute


@pytest.mark.parametrize("groups", [GROUPS, [["a", "b", "c", "d"]]])
def test_one_file_whatever_the_groups(tmp_path: Path, groups: list[list[str]]) -> None:
    path, calls = tmp_path / "ggn.block16.safetensors", []
    write_in_groups(path, groups, computing(calls), {"made": 1})
    found = read_tensors(path, kind="curvature")
    assert sorted(found.tensors) == ["a", "b", "c", "d"] and found.metadata == {"made": 1}
    assert calls == groups and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kill", [1, 2])
def test_a_killed_run_goes_on_with_the_next_group(tmp_path: Path, kill: int) -> None:
    path = tmp_path / "ggn.block16.safetensors"
    with pytest.raises(Killed):
        write_in_groups(path, GROUPS, computing([], kill), {"made": 1})
    assert not path.exists()
    calls: list[list[str]] = []
    write_in_groups(path, GROUPS, computing(calls), {"made": 1})
    assert calls == GROUPS[kill:] and list(tmp_path.iterdir()) == [path]


def test_groups_made_from_something_else_are_made_again(tmp_path: Path) -> None:
    path = tmp_path / "ggn.block16.safetensors"
    with pytest.raises(Killed):
        write_in_groups(path, GROUPS, computing([], 2, value=5.0), {"made": "with other settings"})
    damaged = next(iter(tmp_path.glob("*group_0*")))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    write_in_groups(path, GROUPS, computing(calls := []), {"made": 1})
    assert calls == GROUPS
    assert all((array == 1.0).all() for array in read_tensors(path, kind="curvature").tensors.values())


def test_the_memory_asked_for_or_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_limit(0.5, "cpu") == 500_000_000
    free = memory_limit(None, "cpu")
    assert free is not None and free > 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    assert memory_limit(None, "cpu") == 50 * 2**20


def test_structures_as_paths_write_them() -> None:
    assert [parse_structure(word) for word in ("diagonal", "block16", "blockrow", "kfac", "per_weight")] == [
        ("diagonal", 1),
        ("block", 16),
        ("block", "row"),
        ("kfac", 1),
        ("per_weight", 1),
    ]


def test_data_is_needed_where_an_estimator_reads_some() -> None:
    from obtransfer.statistic import compute_statistic

    with pytest.raises(ObtransferError, match="gradient needs a source's images and head"):
        compute_statistic(
            None,  # type: ignore[arg-type]
            {"prunable": ["a"]},
            None,
            estimator="gradient",
            structure="per_weight",
            settings={"loss": "squared_error"},
            seed=0,
        )
