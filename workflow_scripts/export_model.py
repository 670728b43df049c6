"""A pruned or fine-tuned model to take home: weights for plain timm, mask, ONNX, and a card."""

from pathlib import Path
from typing import Any

from obtransfer.runtime.step import run_step


def export_model(
    weights: Path,
    mask: Path | None,
    recalibration: Path | None,
    task_images: Path,
    head: Path,
    evaluations: list[Path],
    dense_evaluations: list[Path],
    model: Path,
    bits: Path,
    onnx: Path,
    card: Path,
    text: Path,
    *,
    form: str,
    how: dict[str, Any],
    alpha: float,
    batch_size: int,
    threads: int,
    made: dict[str, Any],
) -> None:
    """Write `model`, `bits` (its mask), `onnx`, `card` and `text`.

    Fine-tuned weights have mask and recalibration in them already: the mask is only compared, and handed on.
    """
    from obtransfer.artifacts import map_tensors, read_tensors
    from obtransfer.assemble import load_pruned, read_mask
    from obtransfer.export import card as cards
    from obtransfer.export import write_model as hand_out
    from obtransfer.export.accuracies import accuracy_rows
    from obtransfer.export.card_text import write_text
    from obtransfer.export.checks import check_removed
    from obtransfer.heads.ridge import RidgeHead
    from obtransfer.runtime.step import device

    pruned = (None, None) if how["finetuned"] else (mask, recalibration)
    backbone = load_pruned(weights, *pruned, device=device())
    network, about = backbone.model, backbone.metadata
    kept = hand_out.mask_of(network, read_mask(mask) if mask else None)
    task, frozen = map_tensors(task_images, kind="task"), RidgeHead(**read_tensors(head, kind="head").tensors)
    request = hand_out.Request(form, alpha, batch_size, device(), threads)
    folded, accuracy = hand_out.finish(network, about, task, frozen, request)
    network.cpu()
    check_removed(hand_out.state_of(network), kept)
    rows = accuracy_rows(evaluations, dense_evaluations)
    classes = task.metadata["classes"] if form != "features" else []
    section = cards.model_section(about, form, classes)
    described = hand_out.describe(network, about, kept, task, folded, accuracy, rows, request, onnx)
    hand_out.write_model(model, network, section, made)
    hand_out.write_mask(bits, kept, made)
    versions = {"packages": cards.packages(), "made": made, "upstream": cards.upstream(about, mask)}
    written = {"model": section, "how": how, "accuracies": rows, **versions, **described}
    cards.write_card(written, card)
    write_text(written, text)


if "snakemake" in globals():
    run_step(export_model, globals()["snakemake"], preload=("torch", "timm"))
