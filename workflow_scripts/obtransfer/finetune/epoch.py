"""One epoch of fine-tuning: the loss, a step, and a pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from obtransfer.data.pixels import to_batch
from obtransfer.errors import ObtransferError
from obtransfer.finetune.schedule import learning_rate
from obtransfer.finetune.settings import FinetuneSettings


@dataclass(frozen=True)
class Run:
    """What does not change between epochs; see `obtransfer.finetune.loop.finetune` for the shapes.

    `hold_mask` is called after every optimiser step; `head_weight` and `head_bias` are float32 on `device`.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    hold_mask: Callable[[], None]
    head_weight: torch.Tensor
    head_bias: torch.Tensor
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    mean: Sequence[float]
    std: Sequence[float]
    settings: FinetuneSettings
    seed: int
    device: torch.device
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


def train_epoch(run: Run, epoch: int) -> dict[str, float]:
    """Take one pass over the images, in an order that depends on (seed, epoch) alone.

    torch's global random state (dropout) is seeded likewise for the pass and comes back as it was.

    Args:
        run: its model and optimiser are changed in place.
        epoch: from 0.

    Returns:
        epoch, loss (mean over the examples, each before its step), learning_rate (of the first step).

    Raises:
        ObtransferError: a loss or weights that are no longer finite.
    """
    order = np.random.default_rng([run.seed, epoch]).permutation(len(run.labels))
    starts = range(0, len(order), run.settings.batch_size)
    rates = [learning_rate(run.settings, epoch, step, len(starts)) for step in range(len(starts))]
    total = 0.0
    training_mode(run.model, run.settings.batchnorm)
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([run.seed, epoch]).generate_state(1)[0]))
        for step, (start, rate) in enumerate(zip(starts, rates, strict=True)):
            chosen = order[start : start + run.settings.batch_size]
            total += _train_step(run, chosen, rate, f"epoch {epoch}, step {step}") * len(chosen)
            if run.progress is not None:
                run.progress(epoch * len(starts) + step + 1, run.settings.epochs * len(starts))
    if not all(bool(parameter.isfinite().all()) for parameter in run.model.parameters()):
        raise _diverged("weights", f"at the end of epoch {epoch}, step {len(starts) - 1}", rates[-1])
    return {"epoch": epoch, "loss": total / len(order), "learning_rate": rates[0]}


def _train_step(run: Run, chosen: npt.NDArray[np.int64], rate: float, where: str) -> float:
    """Take one optimiser step on the chosen images; return the batch's mean loss before it."""
    batch = to_batch(run.pixels[chosen], run.mean, run.std, run.device)
    targets = torch.from_numpy(run.labels[chosen].astype(np.int64)).to(run.device)
    with _autocast(run):
        features = run.model(batch)
    loss = squared_loss(features.float() @ run.head_weight.T + run.head_bias, targets)
    value = float(loss.detach())
    if not np.isfinite(value):
        raise _diverged("loss", f"in {where}", rate)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    run.hold_mask()
    return value


def _autocast(run: Run) -> AbstractContextManager[None]:
    """bfloat16 on CUDA when asked for: the range of float32, so that no loss scaling is needed. Nothing on the CPU."""
    enabled = run.settings.mixed_precision and run.device.type == "cuda"
    return torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=enabled)


def _diverged(what: str, where: str, rate: float) -> ObtransferError:
    return ObtransferError(
        f"Fine-tuning diverged: the {what} became NaN or infinite {where}, at learning rate {rate:g}; "
        "lower learning_rate (by 10, say), or prune less if the pruned model's loss is already huge."
    )
