"""The training loop of all pre-training methods. An interrupted and resumed run gives the result of an uninterrupted one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from obtransfer.artifacts import atomic_path
from obtransfer.data.pixels import to_batch
from obtransfer.errors import ObtransferError
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.pretrain.method import Method
from obtransfer.pretrain.muon import Muon
from obtransfer.pretrain.pool import GlyphPool, sample
from obtransfer.pretrain.recipes import Recipe

PREPROCESSING = Preprocessing(32, 1.0, "bilinear", (0.32, 0.32, 0.32), (0.22, 0.22, 0.22))
"""Mean and standard deviation are those of the glyph images, rounded."""


@dataclass(frozen=True)
class Spent:
    """What a training took: optimiser steps, renderings that went through a network, and processor time."""

    steps: int
    images: int
    cpu_seconds: float


def train(
    method: Method,
    pool: GlyphPool,
    recipe: Recipe,
    *,
    seed: int,
    state: Path | None = None,
    save_every: int = 500,
    progress: Callable[[int, float], None] = lambda done, loss: None,
) -> Spent:
    """Train `method` in place.

    Every step draws from its own random stream (seed, step), so a resumed run equals an uninterrupted one.

    Args:
        method: freshly built with the same seed, also when resuming.
        pool: the images.
        recipe: settings.
        seed: non-negative.
        state: a file that the training resumes from if it exists, and is saved to; None saves nothing.
        save_every: steps between two saves.
        progress: called after every step with the number of steps done and the loss.

    Raises:
        ObtransferError: the loss is not finite, or `state` belongs to another recipe or seed.
    """
    optimisers = _optimisers(method, recipe)
    identity = repr((recipe, seed))
    done, seconds = _restore(state, method, optimisers, identity)
    method.train()
    started = time.process_time()
    for step in range(done, recipe.steps):
        loss = _step(method, optimisers, pool, recipe, seed, step)
        finished = step + 1
        if state is not None and (finished % save_every == 0 or finished == recipe.steps):
            _save(state, method, optimisers, identity, finished, seconds + time.process_time() - started)
        paused = time.process_time()
        progress(finished, loss)
        started += time.process_time() - paused  # the caller's work is not training
    seconds += time.process_time() - started
    return Spent(recipe.steps, recipe.steps * recipe.batch_size * method.num_views, seconds)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up to the recipe's rate, then half a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    part = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (1 + math.cos(math.pi * part)) / 2


def _step(
    method: Method,
    optimisers: Sequence[torch.optim.Optimizer],
    pool: GlyphPool,
    recipe: Recipe,
    seed: int,
    step: int,
) -> float:
    generator = np.random.default_rng([seed, step])
    views, labels = sample(
        pool,
        batch_size=recipe.batch_size,
        num_views=method.num_views,
        by_class=method.by_class,
        generator=generator,
    )
    batches = [to_batch(view, PREPROCESSING).to(memory_format=torch.channels_last) for view in views]
    augmentation = torch.Generator().manual_seed(int(generator.integers(2**63)))
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step)
    loss = method.loss(batches, torch.from_numpy(labels), augmentation)
    if not math.isfinite(loss.item()):
        raise ObtransferError(
            f"the loss must be finite; got {loss.item()} in step {step}; lower the recipe's learning rate"
        )
    loss.backward()
    if recipe.gradient_clip > 0:
        torch.nn.utils.clip_grad_norm_(method.trained_parameters(), recipe.gradient_clip)
    method.before_step(step / recipe.steps)
    for optimiser in optimisers:
        optimiser.step()
    method.after_step(step / recipe.steps)
    return loss.item()


def _optimisers(method: Method, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or, with `recipe.muon`, Muon for the backbone's linear layers and AdamW for the rest."""
    linear = {id(module.weight) for module in method.backbone.modules() if isinstance(module, nn.Linear)}
    matrices = [p for p in method.trained_parameters() if recipe.muon and id(p) in linear]
    taken = {id(p) for p in matrices}
    others = [p for p in method.trained_parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return [adam, Muon(matrices, recipe.learning_rate, recipe.weight_decay)] if matrices else [adam]


def _save(
    path: Path,
    method: Method,
    optimisers: Sequence[torch.optim.Optimizer],
    identity: str,
    step: int,
    seconds: float,
) -> None:
    content: dict[str, Any] = {
        "method": method.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    content |= {"identity": identity, "step": step, "seconds": seconds}
    with atomic_path(path) as partial:
        torch.save(content, partial)


def _restore(
    path: Path | None, method: Method, optimisers: Sequence[torch.optim.Optimizer], identity: str
) -> tuple[int, float]:
    """Load the state if there is one; return the steps done and the seconds they took."""
    if path is None or not path.is_file():
        return 0, 0.0
    content = torch.load(path, weights_only=True)
    if content["identity"] != identity:
        raise ObtransferError(
            f"{path} must be of a training with the same settings; got other settings; remove it to start anew, or restore "
            f"the settings\n  saved: {content['identity']}\n  asked: {identity}"
        )
    method.load_state_dict(content["method"])
    for optimiser, saved in zip(optimisers, content["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(content["step"]), float(content["seconds"])
