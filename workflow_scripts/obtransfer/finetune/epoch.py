"""One epoch of fine-tuning: the loss, a step, and a pass over the images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
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
from obtransfer.finetune.learning_rate import learning_rate
from obtransfer.finetune.settings import FinetuneSettings
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.runtime.batch_size import BatchSize


@dataclass(frozen=True)
class Run:
    """What does not change between epochs; see `obtransfer.finetune.loop.finetune` for the shapes.

    `hold_mask` is called after every optimiser step; `head_weight` and `head_bias` are float32 on `device`; `part_size`:
    images that go through the model at once.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    hold_mask: Callable[[], None]
    head_weight: torch.Tensor
    head_bias: torch.Tensor
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    preprocessing: Preprocessing
    settings: FinetuneSettings
    seed: int
    device: torch.device
    part_size: BatchSize
    progress: Callable[[int, int], None] | None = None


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


def training_mode(model: nn.Module, batchnorm: str) -> None:
    """Training mode; with "frozen", BatchNorm layers (by type) stay in evaluation mode, scale and shift still learn."""
    model.train()
    if batchnorm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def train_epoch(run: Run, epoch: int, position: Position, should_stop: Callable[[], bool]) -> bool:
    """Take what is left of one pass over the images, in an order that depends on (seed, epoch) alone.

    torch's global random state (dropout) is seeded for every step from (seed, epoch, step), so that a run may be
    stopped between any two, and comes back as it was.

    Args:
        run: its model and optimiser are changed in place.
        epoch: from 0.
        position: goes along with every step; after the last, its history has one more entry: epoch, loss (mean over the
            examples, each before its step), learning_rate (of the first step).
        should_stop: asked after every step but the epoch's last.

    Returns:
        Whether the pass is complete: False if it was asked to stop.

    Raises:
        ObtransferError: a loss or weights that are no longer finite.
    """
    order = np.random.default_rng([run.seed, epoch]).permutation(len(run.labels))
    batches = [order[i : i + run.settings.batch_size] for i in range(0, len(order), run.settings.batch_size)]
    rates = [learning_rate(run.settings, epoch, step, len(batches)) for step in range(len(batches))]
    training_mode(run.model, run.settings.batchnorm)
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        while position.step < len(batches):
            step, chosen = position.step, batches[position.step]
            torch.manual_seed(int(np.random.SeedSequence([run.seed, epoch, step]).generate_state(1)[0]))
            loss = _train_step(run, chosen, epoch, rates[step], f"epoch {epoch}, step {step}")
            position.loss_sum += loss * len(chosen)
            position.step += 1
            if run.progress is not None:
                run.progress(epoch * len(batches) + position.step, run.settings.epochs * len(batches))
            if position.step < len(batches) and should_stop():
                return False
    if not all(bool(parameter.isfinite().all()) for parameter in run.model.parameters()):
        raise _diverged("weights", f"at the end of epoch {epoch}, step {len(batches) - 1}", rates[-1])
    entry = {"epoch": epoch, "loss": position.loss_sum / len(order), "learning_rate": rates[0]}
    position.history.append(entry)
    position.step, position.loss_sum = 0, 0.0
    return True


def _train_step(run: Run, chosen: npt.NDArray[np.int64], epoch: int, rate: float, where: str) -> float:
    """Take one optimiser step on the chosen images; return the batch's mean loss before it."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    value = _accumulate(run, chosen, epoch)
    if not np.isfinite(value):
        raise _diverged("loss", f"in {where}", rate)
    run.optimizer.step()
    run.hold_mask()
    return value


def _accumulate(run: Run, chosen: npt.NDArray[np.int64], epoch: int) -> float:
    """Gradient of the batch's mean loss, and that loss; in parts where the whole batch does not fit.

    A BatchNorm that normalises with the batch would see the parts, so it gets no parts.
    """
    whole = run.settings.batchnorm == "trained" and any(
        isinstance(m, _BatchNorm) for m in run.model.modules()
    )
    while True:
        run.optimizer.zero_grad(set_to_none=True)
        size = min(run.part_size.value, len(chosen))
        parts = [chosen[i : i + size] for i in range(0, len(chosen), size)]
        try:
            return sum(_backward(run, part, epoch, len(chosen)) for part in parts)
        except torch.OutOfMemoryError:
            if whole:
                raise ObtransferError(
                    f"A batch of {len(chosen)} images does not fit the memory, and batchnorm: trained normalises with "
                    "the whole batch: lower finetune.batch_size, or use batchnorm: frozen."
                ) from None
            run.part_size.halve(size)


def _backward(run: Run, part: npt.NDArray[np.int64], epoch: int, batch_size: int) -> float:
    """Add the gradient of one part of a batch; its share of the mean loss."""
    batch = to_batch(run.pixels[part], run.preprocessing, run.device)
    batch = augment(batch, run.settings.augmentation, run.seed, epoch, part)
    targets = torch.from_numpy(run.labels[part].astype(np.int64)).to(run.device)
    with _autocast(run):
        features = run.model(batch)
    logits = features.float() @ run.head_weight.T + run.head_bias
    loss = squared_loss(logits, targets) * (len(part) / batch_size)
    loss.backward()
    return float(loss.detach())


def _autocast(run: Run) -> AbstractContextManager[None]:
    """bfloat16 on CUDA when asked for: the range of float32, so that no loss scaling is needed. Nothing on the CPU."""
    enabled = run.settings.mixed_precision and run.device.type == "cuda"
    return torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=enabled)


def _diverged(what: str, where: str, rate: float) -> ObtransferError:
    return ObtransferError(
        f"Fine-tuning diverged: the {what} became NaN or infinite {where}, at learning rate {rate:g}; "
        "lower learning_rate (by 10, say), or prune less if the pruned model's loss is already huge."
    )
