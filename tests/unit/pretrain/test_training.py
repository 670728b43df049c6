"""The training loop, the pool and the published files, with tiny settings."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.pretrain import pool as pools
from obtransfer.pretrain import quality
from obtransfer.pretrain.dino import Dino
from obtransfer.pretrain.loop import Spent, learning_rate, train
from obtransfer.pretrain.method import Method
from obtransfer.pretrain.mocov2 import MoCoV2
from obtransfer.pretrain.pool import GlyphPool, sample
from obtransfer.pretrain.publish import publish
from obtransfer.pretrain.recipes import METHODS, RECIPES, Recipe
from obtransfer.pretrain.supervised import Supervised
from torch import Tensor, nn

RECIPE = Recipe(steps=6, batch_size=8, learning_rate=1e-2, warmup_steps=2)


class Tiny(nn.Module):
    """[B, 3, H, W] to [B, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3, stride=2)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.convolution(images))).mean(dim=(2, 3))


def _method(kind: str) -> Method:
    torch.manual_seed(0)
    if kind == "supervised":
        return Supervised(Tiny(), 6, num_classes=3)
    if kind == "mocov2":
        return MoCoV2(Tiny(), 6, dimension=4, hidden=8, queue_size=13)
    return Dino(Tiny(), 6, prototypes=8, hidden=8, bottleneck=4, local_size=16)


@pytest.fixture(scope="module")
def pool() -> GlyphPool:
    """Three classes, two of them in two fonts; every image is of one value that names it."""
    values = np.arange(5 * 6, dtype=np.uint8).reshape(5, 6, 1, 1, 1) * 8
    noise = np.random.default_rng(0).integers(0, 8, size=(5, 6, 32, 32, 3), dtype=np.uint8)
    return GlyphPool(values + noise, np.array([0, 0, 1, 2, 2]))


def _weights(method: Method) -> bytes:
    return b"".join(value.numpy().tobytes() for value in method.state_dict().values())


@pytest.mark.parametrize("kind", METHODS)
def test_training_learns_something_and_repeats_itself(kind: str, pool: GlyphPool) -> None:
    first, second = _method(kind), _method(kind)
    before = _weights(first)
    spent = train(first, pool, RECIPE, seed=0)
    train(second, pool, RECIPE, seed=0)
    assert _weights(first) == _weights(second) != before
    assert (spent.steps, spent.images) == (6, 6 * 8 * first.num_views)
    assert spent.cpu_seconds > 0
    other = _method(kind)
    train(other, pool, RECIPE, seed=1)
    assert _weights(other) != _weights(first)


def interrupt_after(steps: int) -> Callable[[int, float], None]:
    def progress(done: int, loss: float) -> None:
        if done == steps:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("kind", METHODS)
def test_resumed_run_equals_an_uninterrupted_one_bit_by_bit(
    kind: str, pool: GlyphPool, tmp_path: Path
) -> None:
    whole, interrupted, resumed = _method(kind), _method(kind), _method(kind)
    train(whole, pool, RECIPE, seed=0)
    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, pool, RECIPE, seed=0, state=state, save_every=2, progress=interrupt_after(3))
    assert _weights(interrupted) != _weights(whole)
    steps: list[int] = []
    train(resumed, pool, RECIPE, seed=0, state=state, progress=lambda done, loss: steps.append(done))
    assert steps == [3, 4, 5, 6]
    assert _weights(resumed) == _weights(whole)


def test_every_step_sees_other_images(pool: GlyphPool) -> None:
    class Watching(Supervised):
        def loss(self, views: list[Tensor], labels: Tensor, generator: torch.Generator) -> Tensor:
            seen.append(views[0].numpy().tobytes())
            return super().loss(views, labels, generator)

    seen: list[bytes] = []
    train(Watching(Tiny(), 6, num_classes=3), pool, RECIPE, seed=0)
    assert len(set(seen)) == RECIPE.steps


def test_state_of_another_recipe_is_refused(pool: GlyphPool, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    train(_method("supervised"), pool, RECIPE, seed=0, state=state)
    with pytest.raises(ObtransferError, match=r"other settings.*state.pt|state.pt.*other settings"):
        train(_method("supervised"), pool, replace(RECIPE, learning_rate=0.5), seed=0, state=state)


def test_loss_that_is_not_finite_stops_the_training(pool: GlyphPool) -> None:
    method = _method("supervised")
    with torch.no_grad():
        method.backbone.convolution.weight.fill_(float("nan"))
    with pytest.raises(ObtransferError, match="got nan in step 0"):
        train(method, pool, RECIPE, seed=0)


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    recipe = Recipe(steps=102, batch_size=1, learning_rate=2.0, warmup_steps=2)
    rates = [learning_rate(recipe, step) for step in range(103)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[52] == pytest.approx(1.0)
    assert rates[102] == pytest.approx(0.0)


def test_sampled_views_are_different_renderings_of_one_identity(pool: GlyphPool) -> None:
    views, labels = sample(
        pool, batch_size=400, num_views=3, by_class=False, generator=np.random.default_rng(0)
    )
    names = [view[:, 0, 0, 0] // 8 for view in views]
    identity = names[0] // 6
    assert all(np.array_equal(name // 6, identity) for name in names)
    np.testing.assert_array_equal(labels, pool.labels[identity])
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (names[first] != names[second]).all()
    assert np.bincount(identity).min() > 50
    assert len(np.unique(names[0])) == len(np.unique(names[2])) == 30


def test_sampling_by_class_is_uniform_over_classes(pool: GlyphPool) -> None:
    _, labels = sample(pool, batch_size=3000, num_views=1, by_class=True, generator=np.random.default_rng(0))
    counts = np.bincount(labels)
    assert counts.min() > 850


def test_pool_is_rendered_once_and_knows_no_held_out_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = pools.identities()
    assert {label for _, _, label in members} == set(range(100))
    assert not {glyph for glyph, _, _ in members} & set("אבגהטלמעצש■□▲△●○◆◇◐▣")
    monkeypatch.setattr(pools, "identities", lambda: members[:3])
    made = pools.make_pool(tmp_path, seed=0, renderings=4)
    assert made.pixels.shape == (3, 4, 32, 32, 3)
    monkeypatch.setattr(pools, "render_glyphs", None)
    again = pools.make_pool(tmp_path, seed=0, renderings=4)
    np.testing.assert_array_equal(made.pixels, again.pixels)
    with pytest.raises(TypeError):
        pools.make_pool(tmp_path, seed=1, renderings=4)


def test_every_recipe_names_a_known_method() -> None:
    assert {name.split(".")[1] for name in RECIPES} == set(METHODS)
    assert len(RECIPES) == 6


def test_publishing_writes_half_precision_and_a_card_of_the_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file

    measured: list[object] = []

    def accuracies(model: object, preprocessing: object) -> dict[str, float]:
        measured.append(model)
        return dict.fromkeys(quality.glyphs.PRETRAINING_TASKS, 0.5) | {"hebrew": 1.0}

    monkeypatch.setattr("obtransfer.pretrain.publish.ridge_accuracies", accuracies)
    monkeypatch.setattr("obtransfer.pretrain.publish.published", lambda path: path.name)
    mean = publish(tmp_path, "tiny.dino", Tiny(), RECIPE, Spent(6, 96, 1.26), seed=3)
    assert measured == ["tiny.dino.safetensors"]
    path = tmp_path / "tiny.dino.safetensors"
    tensors = load_file(path)
    assert tensors["convolution.weight"].dtype == np.float16
    assert tensors["norm.num_batches_tracked"].dtype == np.int64
    card = json.loads((tmp_path / "tiny.dino.json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["mean_ridge_accuracy_pretraining_tasks"] == mean == 0.5
    assert card["spent"] == {"steps": 6, "images": 96, "cpu_seconds": 1.3}
    assert card["recipe"]["seed"] == 3
