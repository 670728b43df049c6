"""Statistics in groups of layers: memory is kept to, and what a killed run has done is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from obtransfer.artifacts import map_tensors, read_tensors, write_tensors
from obtransfer.curvature.examples import Head
from obtransfer.curvature.request import Request
from obtransfer.curvature.statistic import (
    Calibration,
    describe,
    memory_limit,
    statistic_of,
    write_in_groups,
)
from obtransfer.errors import ObtransferError
from obtransfer.models.preprocessing import Preprocessing

PIXELS = Preprocessing(6, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
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


def test_data_is_needed_where_an_estimator_reads_some() -> None:
    with pytest.raises(ObtransferError, match="gradient needs a source's images and head"):
        statistic_of(Narrow(8), Calibration.blank(PIXELS, "cpu"), Request("gradient", "per_weight"))


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
    head = Head(torch.from_numpy(rng.normal(size=(3, 5)).astype(np.float32)), torch.zeros(3))
    return Calibration(pixels, np.arange(10) % 3, np.arange(10), head, PIXELS, 8, "cpu")


def test_a_statistic_in_memory_is_laid_out_as_the_one_in_its_file(tmp_path: Path) -> None:
    """What builds on it has the same bits from a file, from memory, and where it is computed first."""
    model = Narrow(8).to(memory_format=torch.channels_last)
    first = statistic_of(model, calibration(), Request("gradient", "per_weight"))
    assert first["conv.weight"].flags.c_contiguous
    write_tensors(tmp_path / "first.safetensors", first, kind="curvature")
    mapped = map_tensors(tmp_path / "first.safetensors", kind="curvature").tensors
    request = Request("hessian_gradient", "per_weight")
    one, *others = (
        statistic_of(model, calibration(), request, prior=given) for given in (first, mapped, None)
    )
    for other in others:
        np.testing.assert_array_equal(one["conv.weight"], other["conv.weight"])


@pytest.mark.parametrize(
    ("estimator", "structure"), [("mc_fisher", "block5"), ("gradient", "per_weight"), ("hessian", "diagonal")]
)
def test_images_that_do_not_fit_go_in_smaller_batches(
    estimator: str, structure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = Request(estimator, structure)
    wide, narrow = (statistic_of(Narrow(most), calibration(), request) for most in (8, 3))
    np.testing.assert_allclose(narrow["conv.weight"], wide["conv.weight"], rtol=1e-4, atol=1e-6)
    assert "going on with 2" in capsys.readouterr().err


def test_a_file_says_what_its_statistic_was_made_of() -> None:
    request = Request.of("mc_fisher", "block5", {"loss": "cross_entropy", "num_samples": 3, "num_probes": 9})
    assert describe("minivit.dino", calibration(), request) == {
        "backbone": "minivit.dino",
        "estimator": "mc_fisher",
        "structure": "block",
        "block_size": 5,
        "num_examples": 10,
        "num_classes": 3,
        "loss": "cross_entropy",
        "num_samples": 3,
    }
    found = describe("minivit.dino", Calibration.blank(PIXELS, "cpu"), Request("synflow", "per_weight"))
    assert (found["block_size"], found["num_examples"], found["num_classes"]) == (None, 0, 0)
