"""One backbone from recipe to files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from obtransfer.errors import ObtransferError
from obtransfer.models import build as builders
from obtransfer.models.load import load_strictly
from obtransfer.models.formats.mini import convert
from obtransfer.pretrain.loop import PREPROCESSING, train
from obtransfer.pretrain.method import Method
from obtransfer.pretrain.pool import make_pool
from obtransfer.pretrain.publish import export
from obtransfer.pretrain.quality import pretraining_mean, ridge_accuracies
from obtransfer.pretrain.recipes import METHODS, RECIPES, Recipe


def pretrain(
    name: str,
    *,
    output: Path,
    work: Path,
    seed: int,
    threads: int = 1,
    save_every: int = 250,
    evaluate_every: int = 0,
) -> dict[str, Any]:
    """Trains one backbone of `RECIPES`, going on from a saved state; writes weights and card.

    Args:
        name: architecture.method.
        output: folder of `<name>.safetensors` and `<name>.json`.
        work: folder of the state and of the pool of images.
        seed: non-negative.
        threads: processor threads.
        save_every: steps between two saves.
        evaluate_every: steps between two measurements, 0 for none.

    Returns:
        The card.

    Raises:
        ObtransferError: no recipe of this name, or a saved state of another recipe.
    """
    if name not in RECIPES:
        raise ObtransferError(f"there is no recipe for {name!r}: choose among {', '.join(RECIPES)}")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    recipe = RECIPES[name]
    pool = make_pool(work, seed=seed, renderings=recipe.renderings, progress=_bar("images"))
    method = make_method(name, recipe, seed)
    show = _bar(name)

    def progress(done: int, loss: float) -> None:
        show(done, recipe.steps, f" loss {loss:.3f}")
        if evaluate_every and done % evaluate_every == 0:
            accuracies = ridge_accuracies(method.backbone, PREPROCESSING)
            texts = [f"{task} {value:.2f}" for task, value in accuracies.items()]
            print(
                f"\n{name} step {done}: mean {pretraining_mean(accuracies):.4f}; {', '.join(texts)}",
                flush=True,
            )

    spent = train(
        method, pool, recipe, seed=seed, state=work / f"{name}.pt", save_every=save_every, progress=progress
    )
    return export(output, name, method.backbone, recipe, spent, seed=seed, load=shipped)


def make_method(name: str, recipe: Recipe, seed: int) -> Method:
    """The untrained method around an untrained backbone; all from the seed."""
    architecture, pretraining = name.split(".")
    torch.manual_seed(seed)
    backbone = getattr(builders, architecture)(**recipe.build_options).to(memory_format=torch.channels_last)
    module, _, attribute = METHODS[pretraining].partition(":")
    method: Method = getattr(import_module(module), attribute)(
        backbone, backbone.num_features, **recipe.options
    )
    return method


def shipped(path: Path) -> nn.Module:
    """The network of a shipped file, in evaluation mode."""
    from safetensors.torch import load_file

    model = builders.build(path.name.split(".")[0])
    load_strictly(model, convert(load_file(path)), str(path))
    return model


def _bar(label: str) -> Callable[..., None]:
    """A progress bar on standard error, bar(done, all, note): one line on a terminal, a line per cent in a log."""
    started = time.monotonic()
    on_terminal = sys.stderr.isatty()

    def show(done: int, total: int, note: str = "") -> None:
        if done % max(1, total // 100) and done != total:
            return
        filled = 30 * done // total
        seconds = time.monotonic() - started
        text = f"{label} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}{note} {seconds:.0f} s"
        start, end = ("\r", "\n" if done == total else "") if on_terminal else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    return show
