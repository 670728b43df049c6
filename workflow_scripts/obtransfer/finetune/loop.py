"""Fine-tuning of a masked backbone on one task with a frozen head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from obtransfer.errors import ObtransferError
from obtransfer.finetune.checkpoint import History, Mask, Position, fingerprint, resume, save_checkpoint
from obtransfer.finetune.epoch import Run, train_epoch
from obtransfer.finetune.settings import FinetuneSettings
from obtransfer.masks.apply import hold
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.runtime.batch_size import BatchSize


class FinetuneInterrupted(ObtransferError):
    """The run stopped because it was asked to; its checkpoint, if it keeps one, is written."""


def finetune(
    model: nn.Module,
    head_weight: torch.Tensor,
    head_bias: torch.Tensor,
    pixels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    *,
    mask: Mask | None,
    settings: FinetuneSettings,
    seed: int,
    preprocessing: Preprocessing,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> History:
    """Train the backbone's surviving weights on one task, the head and the mask fixed.

    Minimises 1/B Σ_n ½ ‖f(x_n) − onehot(y_n)‖² (sum over classes) by SGD with momentum. Trained: every parameter
    of the backbone that requires a gradient, biases and norms too, all with weight decay. After every step the mask is
    put on again: momentum and weight decay would revive removed weights. A batch that does not fit the memory goes
    through the model in parts; their gradients add up to the batch's.

    A run is a pure function of its arguments: the order of the images comes from (seed, epoch) alone and whatever else is
    drawn from (seed, epoch, step), so that a run resumed from its checkpoint gives the same bits as one that never
    stopped (on the CPU).

    Source: Iurada et al. 2025 (arXiv 2509.24066), fine-tuning on the source.

    Args:
        model: [B, 3, H, W] to [B, D]; moved to `device`, masked, trained in place, left in evaluation mode.
        head_weight: [K, D]; not mutated, used in float32.
        head_bias: [K]; likewise.
        pixels: [N, H, W, 3] uint8, the train split.
        labels: [N] integers in 0 … K - 1.
        mask: name to bool array, True = keep, for every prunable parameter; None trains all (the dense control).
        settings: of the optimiser.
        seed: of the shuffling, and of dropout if the model has any; >= 0.
        preprocessing: of the backbone, for the normalisation.
        checkpoint: written after every epoch but the last and when asked to stop, and resumed from; the caller removes it
            once the result is safe.
        device: where to train.
        progress: called as ``progress(steps_done, steps)``; a resumed run starts where it left off.
        should_stop: asked after every step but the very last.

    Returns:
        One entry an epoch: epoch (from 0), loss (mean over its examples, each before its step), learning_rate (of its
        first step). No times: equal runs give equal histories.

    Raises:
        ObtransferError: shapes that do not match, a mask that does not fit, or a loss or weights that are no longer
            finite (with epoch, step and learning rate; the model is then of no use).
        FinetuneInterrupted: `should_stop` said so.
    """
    _check(head_weight, head_bias, pixels, labels)
    _check_last_batch(model, len(labels), settings)
    device = torch.device(device)
    model.to(device)
    hold_mask = hold(model, mask) if mask is not None else _hold_nothing
    hold_mask()
    weight, bias = (tensor.detach().to(device, torch.float32) for tensor in (head_weight, head_bias))
    identity = fingerprint(
        settings,
        mask,
        {**model.state_dict(), "head weight": weight, "head bias": bias},
        {"pixels": pixels, "labels": labels},
        {
            "seed": seed,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "device": device.type,
        },
    )
    optimizer = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    position = resume(checkpoint, model, optimizer, identity)
    run = Run(
        model=model,
        optimizer=optimizer,
        hold_mask=hold_mask,
        head_weight=weight,
        head_bias=bias,
        pixels=pixels,
        labels=labels,
        preprocessing=preprocessing,
        settings=settings,
        seed=seed,
        device=device,
        part_size=BatchSize(settings.batch_size, "fine-tuning"),
        progress=progress,
    )
    asked_to_stop = should_stop or _never
    try:
        for epoch in range(len(position.history), settings.epochs):
            complete = train_epoch(run, epoch, position, asked_to_stop)
            if complete and epoch + 1 == settings.epochs:
                break
            if checkpoint is not None:
                save_checkpoint(checkpoint, model, optimizer, position, identity)
            if not complete or asked_to_stop():
                raise FinetuneInterrupted(_interrupted(position, settings.epochs, checkpoint))
    finally:
        model.eval()
    return position.history


def _never() -> bool:
    """No wish to stop."""
    return False


def _hold_nothing() -> None:
    """The mask of a dense run."""


def _interrupted(position: Position, epochs: int, checkpoint: Path | None) -> str:
    where = f"{checkpoint}" if checkpoint is not None else "the start (it was told to keep no checkpoint)"
    steps = f" and {position.step} steps" if position.step else ""
    return (
        f"Fine-tuning stopped as asked after {len(position.history)} of {epochs} epochs{steps}; run the same again to go "
        f"on from {where}."
    )


def _check_last_batch(model: nn.Module, num_examples: int, settings: FinetuneSettings) -> None:
    """Refuse to normalise a batch by its one image: its variance is 0, and the running statistics would be spoilt."""
    alone = 1 in (settings.batch_size, num_examples % settings.batch_size, num_examples)
    if settings.batchnorm == "trained" and alone and any(isinstance(m, _BatchNorm) for m in model.modules()):
        raise ObtransferError(
            f"With batchnorm: trained no batch may hold a single image, but {num_examples} images in batches of "
            f"{settings.batch_size} leave one; change batch_size, or use batchnorm: frozen."
        )


def _check(
    head_weight: torch.Tensor,
    head_bias: torch.Tensor,
    pixels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
) -> None:
    """Refuse what does not fit together."""
    num_classes = len(head_bias)
    if head_weight.ndim != 2 or head_bias.ndim != 1 or len(head_weight) != num_classes:
        raise ObtransferError(
            f"The head must be weight [K, D] and bias [K], got {list(head_weight.shape)} and {list(head_bias.shape)}."
        )
    if labels.ndim != 1 or len(labels) != len(pixels) or len(labels) == 0:
        raise ObtransferError(
            f"Fine-tuning needs pixels [N, H, W, 3] and labels [N] with N > 0, got {list(pixels.shape)} and "
            f"{list(labels.shape)}."
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ObtransferError(
            f"Labels must lie in 0 … {num_classes - 1}, got {labels.min()} … {labels.max()}; "
            "is this the head of another task?"
        )
