"""The damping that suits a source, for all criteria that share it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def choose_damping(
    weights: Path,
    task_images: Path,
    head: Path,
    statistics: list[Path],
    choice: Path,
    *,
    labels: dict[str, dict[str, Any]],
    settings: dict[str, Any],
    allocate: str,
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
    from obtransfer.registry import resolve
    from obtransfer.runtime.progress import bar
    from obtransfer.runtime.step import device

    model, card = load_pruned(weights, None, None, device=device())
    tensors = map_tensors(weights, kind="backbone").tensors
    dense = {name: tensors[name] for name in card["prunable"]}
    pixels, truth = select(map_tensors(task_images, kind="task"), "validation")
    ridge = RidgeHead(**read_tensors(head, kind="head").tensors)

    def evaluate(pruned: Any) -> Any:
        look = {"mean": card["mean"], "std": card["std"], "batch_size": batch_size, "device": device()}
        return score_logits(ridge.logits(extract_features(pruned, pixels, **look)), truth)

    def scorer(entry: dict[str, Any], path: Path) -> Callable[[float], Any]:
        curvature = map_tensors(path, kind="curvature").tensors
        return lambda damping: resolve(entry["score"])(
            dense, curvature, damping=damping, seed=int(seed), **entry["options"]
        )

    criteria = {
        label: scorer(entry, path) for (label, entry), path in zip(labels.items(), statistics, strict=True)
    }
    with bar(len(criteria) * len(settings["candidates"]) * len(settings["sparsities"]), "models") as progress:
        rows = try_dampings(
            model,
            dense,
            criteria,
            **settings,
            allocate=resolve(allocate),
            evaluate=evaluate,
            progress=progress,
        )
    metadata = {"backbone": card["backbone"], "chosen": best_damping(rows), "made": made}
    write_table(choice, rows, kind="damping", metadata=metadata)


if "snakemake" in globals():
    run_step(choose_damping, globals()["snakemake"], preload=("torch", "timm"))
