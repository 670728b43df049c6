"""One epoch of fine-tuning: the loss, the learning rate, a step, and a pass over the images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from obtransfer.data.pixels import to_batch
from obtransfer.errors import ObtransferError
from obtransfer.finetune.augmentation import augment
from obtransfer.finetune.checkpoint import Position
from obtransfer.finetune.run import TrainingRun
from obtransfer.masks.apply import hold
from obtransfer.models.contexts import autocast, device_of
from obtransfer.runtime.batch_size import BatchSize
from obtransfer.settings import FinetuneSettings

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trainer:
    """A run with what its steps change and reuse.

    Attributes:
        run: its model is trained.
        optimizer: of all parameters that require a gradient.
        hold_mask: called after every optimiser step.
        head_weight: [K, D] float32, on `device`.
        head_bias: [K] float32, on `device`.
        device: where the model is.
        part_size: images that go through the model at once.
        progress: called with the numbers of finished steps and of all steps.
    """

    run: TrainingRun
    optimizer: torch.optim.Optimizer
    hold_mask: Callable[[], None]
    head_weight: torch.Tensor
    head_bias: torch.Tensor
    device: torch.device
    part_size: BatchSize
    progress: Progress | None


def prepare(run: TrainingRun, progress: Progress | None) -> Trainer:
    """Apply the mask and make the optimiser."""
    device, settings = device_of(run.model), run.settings
    hold_mask = hold(run.model, run.mask) if run.mask is not None else _hold_nothing
    hold_mask()
    optimizer = torch.optim.SGD(
        [parameter for parameter in run.model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    weight, bias = (
        torch.from_numpy(array).to(device, torch.float32) for array in (run.head.weight, run.head.bias)
    )
    size = BatchSize(settings.batch_size, "fine-tuning")
    return Trainer(run, optimizer, hold_mask, weight, bias, device, size, progress)


def learning_rate(settings: FinetuneSettings, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The learning rate of one optimiser step.

    multistep: η γ^m, m the number of milestones <= epoch (changes between epochs only). cosine:
    η ½ (1 + cos(π t)), t = (epoch + step / steps_per_epoch) / epochs (changes at every step, never quite 0).
    constant: η.

    Args:
        settings: with learning_rate η, schedule, milestones, gamma γ, epochs.
        epoch: from 0.
        step: within the epoch, from 0.
        steps_per_epoch: optimiser steps in an epoch.

    Returns:
        The learning rate, a pure function of its arguments: a resumed run needs no scheduler state.
    """
    if settings.schedule == "multistep":
        return settings.learning_rate * settings.gamma ** sum(m <= epoch for m in settings.milestones)
    if settings.schedule == "cosine":
        time = (epoch + step / steps_per_epoch) / settings.epochs
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * time))
    return settings.learning_rate


def squared_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared loss to one-hot targets, 1/B Σ_n ½ ‖f_n − onehot(y_n)‖²: the sum over classes, the mean over examples.

    Args:
        logits: [B, K].
        labels: [B] int64.

    Returns:
        Scalar, differentiable.
    """
    targets = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return 0.5 * (logits - targets).square().sum() / len(logits)


def train_epoch(trainer: Trainer, epoch: int, position: Position, should_stop: Callable[[], bool]) -> bool:
    """Take the rest of one pass over the images, in an order that depends on (seed, epoch) alone.

    torch's global random state (dropout) is seeded for every step from (seed, epoch, step), so that a run can stop
    between any two steps; it is restored afterwards.

    Args:
        trainer: its model and optimiser are changed in place.
        epoch: from 0.
        position: updated after every step. After the last, its history has one more entry: epoch, loss (mean over the
            examples, each before its step), learning_rate (of the first step).
        should_stop: asked after every step but the epoch's last.

    Returns:
        Whether the pass is complete; False if it was asked to stop.

    Raises:
        ObtransferError: a loss or weights that are no longer finite.
    """
    run = trainer.run
    order = np.random.default_rng([run.seed, epoch]).permutation(len(run.labels))
    batches = [order[i : i + run.settings.batch_size] for i in range(0, len(order), run.settings.batch_size)]
    rates = [learning_rate(run.settings, epoch, step, len(batches)) for step in range(len(batches))]
    _training_mode(run.model, run.settings.batchnorm)
    with torch.random.fork_rng(devices=[trainer.device] if trainer.device.type == "cuda" else []):
        while position.step < len(batches):
            step, chosen = position.step, batches[position.step]
            torch.manual_seed(int(np.random.SeedSequence([run.seed, epoch, step]).generate_state(1)[0]))
            loss = _train_step(trainer, chosen, epoch, rates[step], f"epoch {epoch}, step {step}")
            position.loss_sum += loss * len(chosen)
            position.step += 1
            if trainer.progress is not None:
                trainer.progress(epoch * len(batches) + position.step, run.settings.epochs * len(batches))
            if position.step < len(batches) and should_stop():
                return False
    if not all(bool(parameter.isfinite().all()) for parameter in run.model.parameters()):
        raise _diverged("weights", f"at the end of epoch {epoch}, step {len(batches) - 1}", rates[-1])
    entry = {"epoch": epoch, "loss": position.loss_sum / len(order), "learning_rate": rates[0]}
    position.history.append(entry)
    position.step, position.loss_sum = 0, 0.0
    return True


def _training_mode(model: nn.Module, batchnorm: str) -> None:
    """Training mode. With "frozen", BatchNorm layers stay in evaluation mode; their scale and shift are trained."""
    model.train()
    if batchnorm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _hold_nothing() -> None:
    """The mask of a dense run."""


def _train_step(
    trainer: Trainer, chosen: npt.NDArray[np.int64], epoch: int, rate: float, where: str
) -> float:
    """Take one optimiser step on the chosen images; return the batch's mean loss before it."""
    for group in trainer.optimizer.param_groups:
        group["lr"] = rate
    value = _accumulate(trainer, chosen, epoch)
    if not np.isfinite(value):
        raise _diverged("loss", f"in {where}", rate)
    trainer.optimizer.step()
    trainer.hold_mask()
    return value


def _accumulate(trainer: Trainer, chosen: npt.NDArray[np.int64], epoch: int) -> float:
    """Gradient of the batch's mean loss, and that loss; in parts if the whole batch does not fit in memory.

    A BatchNorm that normalises with the batch needs the whole batch.
    """
    while True:
        trainer.optimizer.zero_grad(set_to_none=True)
        size = min(trainer.part_size.value, len(chosen))
        parts = [chosen[i : i + size] for i in range(0, len(chosen), size)]
        try:
            return sum(_backward(trainer, part, epoch, len(chosen)) for part in parts)
        except torch.OutOfMemoryError:
            if trainer.run.uses_batch_statistics():
                raise ObtransferError(
                    f"batchnorm: trained needs a whole batch in memory; got {len(chosen)} images that do not fit; lower "
                    "finetune.batch_size, or use batchnorm: frozen"
                ) from None
            trainer.part_size.halve(size)


def _backward(trainer: Trainer, part: npt.NDArray[np.int64], epoch: int, batch_size: int) -> float:
    """Add the gradient of one part of a batch; return its share of the mean loss."""
    run, device = trainer.run, trainer.device
    batch = to_batch(run.pixels[part], run.backbone.preprocessing, device)
    batch = augment(batch, run.settings.augmentation, run.seed, epoch, part)
    targets = torch.from_numpy(run.labels[part].astype(np.int64)).to(device)
    with autocast(device, run.precision):
        features = run.model(batch)
    logits = features.float() @ trainer.head_weight.T + trainer.head_bias
    loss = squared_loss(logits, targets) * (len(part) / batch_size)
    loss.backward()
    return float(loss.detach())


def _diverged(what: str, where: str, rate: float) -> ObtransferError:
    return ObtransferError(
        f"fine-tuning needs finite losses and weights; got {what} that became NaN or infinite {where}, at learning rate "
        f"{rate:g}; lower learning_rate (by 10, say), or prune less if the pruned model's loss is already huge"
    )
