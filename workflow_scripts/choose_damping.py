"""Choose the damping for a source, one for all criteria that ask for it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step
from obtransfer.settings import DampingChoice


def choose_damping(
    weights: Path,
    task_images: Path,
    head: Path,
    statistics: list[Path],
    choice: Path,
    *,
    labels: dict[str, dict[str, Any]],
    settings: DampingChoice,
    batch_size: int,
    seed: str,
    made: dict[str, Any],
) -> None:
    """Write `choice`: accuracies of every candidate on the source's validation images, and the best in its card."""
    from obtransfer.artifacts import map_tensors, read_tensors, write_table
    from obtransfer.assemble import load_pruned
    from obtransfer.data.pixels import select
    from obtransfer.evaluate.accuracy import score_logits
    from obtransfer.evaluate.features import extract_features
    from obtransfer.heads.ridge import RidgeHead
    from obtransfer.pruning.damping_choice import best_damping, try_dampings
    from obtransfer.registry import ALLOCATIONS, CRITERIA, resolve
    from obtransfer.runtime.device import device
    from obtransfer.runtime.progress import bar

    backbone = load_pruned(weights, None, None, device=device())
    tensors = map_tensors(weights, kind="backbone").tensors
    dense = {name: tensors[name] for name in backbone.prunable}
    pixels, truth = select(map_tensors(task_images, kind="task"), "validation")
    ridge = RidgeHead(**read_tensors(head, kind="head").tensors)

    def evaluate(pruned: Any) -> Any:
        features = extract_features(pruned, pixels, backbone.preprocessing, batch_size=batch_size)
        return score_logits(ridge.logits(features), truth)

    def scorer(entry: dict[str, Any], path: Path) -> Callable[[float], Any]:
        curvature = map_tensors(path, kind="curvature").tensors
        make_scores = partial(CRITERIA[entry["criterion"]].scores, dense, curvature, seed=int(seed))
        return lambda damping: make_scores(options={**entry["options"], "damping": damping})

    criteria = {
        label: scorer(entry, path) for (label, entry), path in zip(labels.items(), statistics, strict=True)
    }
    with bar(len(criteria) * len(settings.candidates) * len(settings.sparsities), "models") as progress:
        rows = try_dampings(
            backbone.model,
            dense,
            criteria,
            settings,
            allocate=resolve(ALLOCATIONS["global"]),
            evaluate=evaluate,
            progress=progress,
        )
    metadata = {"backbone": backbone.name, "chosen": best_damping(rows), "made": made}
    write_table(choice, rows, kind="damping", metadata=metadata)


if "snakemake" in globals():
    run_step(choose_damping, globals()["snakemake"], preload=("torch", "timm"))
