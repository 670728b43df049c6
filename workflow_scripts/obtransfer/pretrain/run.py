"""One backbone from recipe to files."""

from __future__ import annotations

from pathlib import Path

import torch

from obtransfer.errors import ObtransferError
from obtransfer.models import build as builders
from obtransfer.pretrain.loop import PREPROCESSING, train
from obtransfer.pretrain.method import Method
from obtransfer.pretrain.pool import make_pool
from obtransfer.pretrain.publish import publish
from obtransfer.pretrain.quality import pretraining_mean, ridge_accuracies
from obtransfer.pretrain.recipes import METHODS, RECIPES, Recipe
from obtransfer.registry import resolve
from obtransfer.runtime.progress import bar


def pretrain(
    name: str,
    *,
    output: Path,
    work: Path,
    seed: int,
    threads: int = 1,
    save_every: int = 250,
    evaluate_every: int = 0,
) -> float:
    """Train one backbone of `RECIPES`, from its saved state if there is one, and write weights and card.

    Args:
        name: architecture.method.
        output: folder of `<name>.safetensors` and `<name>.json`.
        work: folder of the state and of the pool of images.
        seed: non-negative.
        threads: processor threads.
        save_every: steps between two saves.
        evaluate_every: steps between two measurements, 0 for none.

    Returns:
        The mean ridge accuracy of the written weights on the ten tasks of pre-training, in [0, 1].

    Raises:
        ObtransferError: no recipe of this name, or a saved state of another recipe.
    """
    if name not in RECIPES:
        raise ObtransferError(f"a recipe is needed; got {name!r}; choose among {', '.join(RECIPES)}")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    recipe = RECIPES[name]
    pool = make_pool(work, seed=seed, renderings=recipe.renderings)
    method = make_method(name, recipe, seed)
    with bar(recipe.steps, name) as show:

        def progress(done: int, loss: float) -> None:
            show(done)
            if evaluate_every and done % evaluate_every == 0:
                accuracies = ridge_accuracies(method.backbone, PREPROCESSING)
                texts = [f"{task} {value:.2f}" for task, value in accuracies.items()]
                mean = f"loss {loss:.3f}, mean accuracy {pretraining_mean(accuracies):.4f}"
                print(f"\n{name} step {done}: {mean}; {', '.join(texts)}", flush=True)

        spent = train(
            method,
            pool,
            recipe,
            seed=seed,
            state=work / f"{name}.pt",
            save_every=save_every,
            progress=progress,
        )
    return publish(output, name, method.backbone, recipe, spent, seed=seed)


def make_method(name: str, recipe: Recipe, seed: int) -> Method:
    """The untrained method around an untrained backbone; all from the seed."""
    architecture, pretraining = name.split(".")
    torch.manual_seed(seed)
    backbone = getattr(builders, architecture)(**recipe.build_options).to(memory_format=torch.channels_last)
    method: Method = resolve(METHODS[pretraining])(backbone, backbone.num_features, **recipe.options)
    return method
