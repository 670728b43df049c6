"""Export a pruned or fine-tuned model: weights for plain timm, mask, ONNX, and a card."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.runtime.step import run_step

if TYPE_CHECKING:
    from obtransfer.export.card import History


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
    how: "History",
    alpha: float,
    batch_size: int,
    threads: int,
    made: dict[str, Any],
) -> None:
    """Write `model`, `bits` (its mask), `onnx`, `card` and `text`.

    The parameters are the rule's files and settings by name. Fine-tuned weights already contain their mask and
    recalibration, so the mask is only compared and written again.
    """
    from obtransfer.artifacts import map_tensors, read_tensors
    from obtransfer.assemble import load_pruned, read_mask
    from obtransfer.dag.paths import Form
    from obtransfer.export import card as cards
    from obtransfer.export import checks, costs, semi_structured
    from obtransfer.export.card_text import write_text
    from obtransfer.export.finish import Request, finish, write_mask, write_model
    from obtransfer.export.flops import count_flops
    from obtransfer.heads.ridge import RidgeHead
    from obtransfer.runtime.device import device

    pruned = (None, None) if how["finetuned"] else (mask, recalibration)
    backbone = load_pruned(weights, *pruned, device=device())
    task, frozen = map_tensors(task_images, kind="task"), RidgeHead(**read_tensors(head, kind="head").tensors)
    request = Request(Form.parse(form), alpha, batch_size, threads)
    finished = finish(backbone, read_mask(mask) if mask else None, task, frozen, request)
    state, images = finished.state(), checks.compared_images(finished)
    checks.check_removed(state, finished.mask)
    flops = count_flops(finished.model, images)
    accuracies = cards.accuracy_rows(evaluations, dense_evaluations)
    gpu = device() == "cuda" and semi_structured.gpu_available()
    classes = [] if request.returns_features else task.metadata["classes"]
    written: cards.Card = {
        "model": cards.model_section(backbone.metadata, form, classes),
        "how": how,
        "accuracies": accuracies,
        "sparsity": costs.sparsity_section(state, finished.mask, flops),
        "flops": costs.flops_section(finished.mask, flops),
        "bytes": costs.bytes_section(state, finished.mask),
        "checks": {
            "accuracy": checks.check_accuracy(finished, accuracies, request),
            "onnx": checks.check_onnx(finished, request, onnx),
        },
        "semi_structured": semi_structured.report(finished.model, finished.mask, images, gpu=gpu),
        "packages": cards.packages(),
        "made": made,
        "upstream": cards.upstream(backbone.metadata, mask),
    }
    write_model(model, finished, written["model"], made)
    write_mask(bits, finished.mask, made)
    cards.write_card(written, card)
    write_text(written, text)


if "snakemake" in globals():
    run_step(export_model, globals()["snakemake"], preload=("torch", "timm"))
