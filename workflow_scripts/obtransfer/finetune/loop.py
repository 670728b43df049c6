"""Fine-tuning of a masked backbone on one task with a frozen head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from obtransfer.errors import ObtransferError
from obtransfer.finetune.checkpoint import History, Position, fingerprint, resume, save_checkpoint
from obtransfer.finetune.epoch import Progress, prepare, train_epoch
from obtransfer.finetune.run import TrainingRun


class FinetuneInterrupted(ObtransferError):
    """The run stopped because it was asked to; its checkpoint, if it keeps one, is written."""


def finetune(
    run: TrainingRun,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> History:
    """Train the backbone's surviving weights on one task; head and mask are fixed.

    Minimises 1/B Σ_n ½ ‖f(x_n) − onehot(y_n)‖² (sum over classes) by SGD with momentum. All parameters of the
    backbone that require a gradient are trained with weight decay, including biases and norms. The mask is applied again
    after every step, because momentum and weight decay revive removed weights. A batch that does not fit in memory goes
    through the model in parts; their gradients add up to the batch's.

    A run is a pure function of `run`: the order of the images comes from (seed, epoch) alone, all other random numbers
    from (seed, epoch, step). On a CPU, a run that is resumed from its checkpoint gives the same bits as one that never
    stopped.

    Source: Iurada et al. 2025 (arXiv 2509.24066), fine-tuning on the source.

    Args:
        run: its model is masked, trained in place and left in evaluation mode.
        checkpoint: written after every epoch but the last and when asked to stop, and resumed from; the caller removes it
            once the result is safe.
        progress: called as ``progress(finished_steps, steps)``; a resumed run starts where it left off.
        should_stop: asked after every step but the very last.

    Returns:
        One entry for each epoch: epoch (from 0), loss (mean over its examples, each before its step), learning_rate (of
        its first step). No times: equal runs give equal histories.

    Raises:
        ObtransferError: shapes that do not match, a mask that does not fit, or a loss or weights that are no longer
            finite (with epoch, step and learning rate; the model is then of no use).
        FinetuneInterrupted: `should_stop` said so.
    """
    run.check()
    trainer, epochs = prepare(run, progress), run.settings.epochs
    identity = fingerprint(run)
    position = resume(checkpoint, run.model, trainer.optimizer, identity)
    asked_to_stop = should_stop or _never
    try:
        for epoch in range(len(position.history), epochs):
            complete = train_epoch(trainer, epoch, position, asked_to_stop)
            if complete and epoch + 1 == epochs:
                break
            if checkpoint is not None:
                save_checkpoint(checkpoint, run.model, trainer.optimizer, position, identity)
            if not complete or asked_to_stop():
                raise FinetuneInterrupted(_interrupted(position, epochs, checkpoint))
    finally:
        run.model.eval()
    return position.history


def _never() -> bool:
    """Never ask to stop."""
    return False


def _interrupted(position: Position, epochs: int, checkpoint: Path | None) -> str:
    where = f"{checkpoint}" if checkpoint is not None else "the start (it keeps no checkpoint)"
    steps = f" and {position.step} steps" if position.step else ""
    return (
        f"fine-tuning stopped as asked after {len(position.history)} of {epochs} epochs{steps}; run the same command again "
        f"to go on from {where}"
    )
