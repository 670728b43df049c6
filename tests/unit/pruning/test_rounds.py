"""Pruning in rounds: what is removed stays removed, everything is computed anew, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from obtransfer.criteria.base import Scores
from obtransfer.criteria.magnitude import CRITERION as MAGNITUDE
from obtransfer.criteria.obd import obd
from obtransfer.criteria.obs import obs
from obtransfer.errors import ObtransferError
from obtransfer.masks.allocation import global_
from obtransfer.masks.mask import Kept
from obtransfer.pruning.rounds import score_in_rounds, score_survivors
from torch import nn

SPARSITIES = ["0.25", "0.5", "0.75"]


class Killed(Exception):
    pass


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    return {
        name: p.detach().numpy().copy() for name, p in model.named_parameters() if name.endswith("weight")
    }


def run(
    model: nn.Module,
    folder: Path,
    *,
    kill: int = 0,
    identity: Mapping[str, Any] = MappingProxyType({"seed": 0}),
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """A statistic that depends on what is left: how many weights the layer still has."""
    rounds: list[int] = []
    weights = weights_of(model)

    def score(kept: Kept) -> Scores:
        rounds.append(1)
        if len(rounds) == kill:
            raise Killed
        left = {name: np.full(w.shape, float((w != 0).sum())) for name, w in weights_of(model).items()}
        return score_survivors(partial(obd, damping=0), weights, left, kept, "diagonal")

    checkpoint = folder / "rounds.checkpoint.safetensors"
    return score_in_rounds(
        model,
        SPARSITIES,
        score=score,
        allocate=global_,
        checkpoint=checkpoint,
        identity=identity,
        progress=progress,
    )


def by_hand(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Round after round with full sorts, on one flat list."""
    sizes = [w.size for w in weights.values()]
    flat = np.concatenate([w.ravel() for w in weights.values()]).astype(np.float64)
    layer = np.repeat([0, 1], sizes)
    alive = np.ones(flat.size, dtype=bool)
    for sparsity in SPARSITIES:
        counts = np.array([alive[layer == 0].sum(), alive[layer == 1].sum()])
        scores = np.where(alive, 0.5 * counts[layer] * flat**2, -np.inf)
        last = scores
        alive = np.ones(flat.size, dtype=bool)
        alive[np.argsort(scores, kind="stable")[: int(float(sparsity) * flat.size)]] = False
    return dict(zip(weights, np.split(last, np.cumsum(sizes)[:-1]), strict=True))


def test_each_round_scores_what_the_last_has_left(model: nn.Module, tmp_path: Path) -> None:
    weights = weights_of(model)
    found = run(model, tmp_path)
    for name, expected in by_hand(weights).items():
        np.testing.assert_allclose(found.scores[name].ravel(), expected, rtol=1e-6)
    assert found.details["rounds"] == 3
    mask = global_(found.scores, SPARSITIES[-1])
    gone = {name: np.isneginf(s) for name, s in found.scores.items()}
    assert sum(int(g.sum()) for g in gone.values()) == 18 and all((~mask[n])[gone[n]].all() for n in gone)


@pytest.mark.parametrize("kill", [2, 3])
def test_a_killed_run_goes_on_from_its_last_round(model: nn.Module, tmp_path: Path, kill: int) -> None:
    weights = weights_of(model)
    expected = run(model, tmp_path / "whole")
    restored = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    with pytest.raises(Killed):
        restored.load_state_dict({**model.state_dict(), **{n: torch.tensor(w) for n, w in weights.items()}})
        run(restored, tmp_path, kill=kill)
    done: list[int] = []
    restored.load_state_dict({**model.state_dict(), **{n: torch.tensor(w) for n, w in weights.items()}})
    found = run(restored, tmp_path, progress=done.append)
    assert done == list(range(kill, 3))
    for name in weights:
        np.testing.assert_array_equal(found.scores[name], expected.scores[name])


def test_a_checkpoint_of_other_settings_is_not_used(model: nn.Module, tmp_path: Path) -> None:
    run(model, tmp_path)
    done: list[int] = []
    run(model, tmp_path, identity={"seed": 1}, progress=done.append)
    assert done == [1, 2]


def test_layers_that_lose_everything_are_reported_with_their_round(model: nn.Module, tmp_path: Path) -> None:
    weights = weights_of(model)
    weights["1.weight"] = weights["1.weight"] * 1e-3
    found = score_in_rounds(
        model,
        SPARSITIES,
        score=lambda kept: score_survivors(MAGNITUDE.scores, weights, None, kept, "none"),
        allocate=global_,
        checkpoint=tmp_path / "rounds.checkpoint.safetensors",
        identity={},
    )
    assert found.details["collapsed_in_round"] == {"1.weight": 2}


def test_survivors_of_a_block_are_scored_as_if_the_removed_never_were() -> None:
    chance = np.random.default_rng(0)
    root = chance.standard_normal((6, 9))
    weights, mask = {"w": chance.standard_normal(6)}, {"w": np.array([True, False, True, True, False, True])}
    kept = np.flatnonzero(mask["w"])
    matrix = root @ root.T
    expected = (
        0.5 * weights["w"][kept] ** 2 / np.diag(np.linalg.inv(matrix[np.ix_(kept, kept)] + 0.3 * np.eye(4)))
    )
    score = partial(obs, damping=0.3, damping_mode="absolute")
    found = score_survivors(score, weights, {"w": matrix[None]}, mask, "block").scores["w"]
    np.testing.assert_allclose(found[kept], expected)
    assert np.isneginf(found[~mask["w"]]).all()


def test_a_survivor_without_a_finite_score_is_refused() -> None:
    def broken(weights: Any, statistics: Any) -> Scores:
        return Scores({"w": np.array([1.0, np.nan, np.nan])})

    with pytest.raises(ObtransferError, match=r"surviving weights must be finite.* w: 1"):
        score_survivors(broken, {"w": np.ones(3)}, None, {"w": np.array([True, True, False])}, "none")
