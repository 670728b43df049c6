"""Fine-tune a pruned or the dense backbone on the source task, with a fixed mask and a frozen head."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.runtime.step import run_step
from obtransfer.settings import FinetuneSettings

if TYPE_CHECKING:
    from obtransfer.settings import Precision


def finetune(
    weights: Path,
    mask: Path | None,
    task_images: Path,
    head: Path,
    recalibration: Path | None,
    finetuned: Path,
    *,
    seed: str,
    settings: FinetuneSettings,
    precision: "Precision",
    made: dict[str, Any],
) -> None:
    """Write `finetuned`, a "backbone" artefact; a stopped or killed run continues from a checkpoint beside it."""
    from obtransfer.artifacts import map_tensors, read_tensors, write_tensors
    from obtransfer.assemble import load_pruned, read_mask
    from obtransfer.data.pixels import select
    from obtransfer.finetune.loop import finetune as train
    from obtransfer.finetune.run import TrainingRun
    from obtransfer.heads.ridge import RidgeHead
    from obtransfer.runtime.device import device
    from obtransfer.runtime.progress import bar
    from obtransfer.runtime.stop import stop_requested

    should_stop = stop_requested()  # before the images are read: SIGUSR2 would be lost until then
    backbone = load_pruned(weights, mask, recalibration, device=device())
    pixels, labels = select(map_tensors(task_images, kind="task"), "train")
    run = TrainingRun(
        backbone,
        RidgeHead(**read_tensors(head, kind="head").tensors),
        pixels,
        labels,
        settings,
        int(seed),
        mask=read_mask(mask) if mask else None,
        precision=precision,
    )
    checkpoint = finetuned.with_name(f"{finetuned.stem}.checkpoint.safetensors")
    with bar(run.settings.epochs * run.steps_per_epoch, "steps") as progress:
        history = train(run, checkpoint=checkpoint, progress=progress, should_stop=should_stop)
    tensors = {name: tensor.cpu().numpy() for name, tensor in backbone.model.state_dict().items()}
    metadata = backbone.metadata | {"history": history, "made": made}
    write_tensors(finetuned, tensors, kind="backbone", metadata=metadata)
    checkpoint.unlink(missing_ok=True)


if "snakemake" in globals():
    run_step(finetune, globals()["snakemake"], preload=("torch", "timm"))
