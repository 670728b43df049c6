"""Learning rates over time."""

from __future__ import annotations

import math

from obtransfer.finetune.settings import FinetuneSettings


def learning_rate(settings: FinetuneSettings, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The learning rate of one optimiser step.

    multistep: η γ^m, m the number of milestones <= epoch (changes between epochs only). cosine:
    η ½ (1 + cos(π t)), t = (epoch + step / steps_per_epoch) / epochs (changes at every step, never quite 0).
    constant: η.

    Args:
        settings: with learning_rate η, schedule, milestones, gamma γ, epochs.
        epoch: from 0.
        step: within the epoch, from 0.
        steps_per_epoch: optimiser steps an epoch.

    Returns:
        The learning rate, a pure function of its arguments: a resumed run needs no scheduler state.
    """
    if settings.schedule == "multistep":
        return settings.learning_rate * settings.gamma ** sum(m <= epoch for m in settings.milestones)
    if settings.schedule == "cosine":
        time = (epoch + step / steps_per_epoch) / settings.epochs
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * time))
    return settings.learning_rate
