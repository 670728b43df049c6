"""Statistics in groups of layers: memory is kept to, and what a killed run has done is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from obtransfer.artifacts import map_tensors, read_tensors, write_tensors
from obtransfer.curvature.statistic import (
    Calibration,
    compute_statistic,
    memory_limit,
    parse_structure,
    write_in_groups,
)
from obtransfer.errors import ObtransferError
from obtransfer.models.preprocessing import Preprocessing

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
    from obtransfer.curvature.statistic import compute_statistic

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


class Narrow(torch.nn.Module):
    """Runs out of memory on more than `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.most = torch.nn.Conv2d(3, 5, 3), most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many")
        return torch.relu(self.conv(x)).mean(dim=(2, 3))


def calibration() -> Calibration:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 6, 6, 3), dtype=np.uint8)
    head = rng.normal(size=(3, 5)).astype(np.float32), np.zeros(3, dtype=np.float32)
    look = Preprocessing(6, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), 8, "cpu"
    return Calibration(pixels, np.arange(10) % 3, np.arange(10), *head, *look)


def asked(estimator: str, structure: str) -> dict[str, Any]:
    settings = {"loss": "squared_error", "num_samples": 1, "num_probes": 3}
    return {"estimator": estimator, "structure": structure, "settings": settings, "seed": 0}


def test_a_statistic_in_memory_is_laid_out_as_the_one_in_its_file(tmp_path: Path) -> None:
    """What builds on it has the same bits from either."""
    model, card = Narrow(8).to(memory_format=torch.channels_last), {"prunable": ["conv.weight"]}
    first = compute_statistic(model, card, calibration(), **asked("gradient", "per_weight"))
    assert first["conv.weight"].flags.c_contiguous
    write_tensors(tmp_path / "first.safetensors", first, kind="curvature")
    mapped = map_tensors(tmp_path / "first.safetensors", kind="curvature").tensors
    one, other = (
        compute_statistic(model, card, calibration(), **asked("hessian_gradient", "per_weight"), first=given)
        for given in (first, mapped)
    )
    np.testing.assert_array_equal(one["conv.weight"], other["conv.weight"])


@pytest.mark.parametrize(
    ("estimator", "structure"), [("mc_fisher", "block5"), ("gradient", "per_weight"), ("hessian", "diagonal")]
)
def test_images_that_do_not_fit_go_in_smaller_batches(
    estimator: str, structure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    card = {"prunable": ["conv.weight"]}
    wide, narrow = (
        compute_statistic(Narrow(most), card, calibration(), **asked(estimator, structure)) for most in (8, 3)
    )
    np.testing.assert_allclose(narrow["conv.weight"], wide["conv.weight"], rtol=1e-4, atol=1e-6)
    assert "going on with 2" in capsys.readouterr().err
