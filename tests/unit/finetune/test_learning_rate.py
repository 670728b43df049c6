"""Learning rates by hand."""

import pytest
from obtransfer.finetune.epoch import learning_rate


def rates(settings, epochs, steps=1):
    return [learning_rate(settings, epoch, step, steps) for epoch in range(epochs) for step in range(steps)]


def test_multistep_drops_at_the_start_of_the_milestone_epochs(make_settings):
    settings = make_settings(epochs=5, learning_rate=1.0, gamma=0.1, milestones=[2, 4])
    assert rates(settings, 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rates(settings, 3, steps=2) == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_cosine_falls_at_every_step(make_settings):
    settings = make_settings(epochs=2, learning_rate=2.0, schedule="cosine")
    # Time 0, 1/4, 1/2, 3/4: 1 + cos(0, π/4, π/2, 3π/4).
    assert rates(settings, 2, steps=2) == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5])


def test_constant(make_settings):
    assert rates(make_settings(schedule="constant", learning_rate=0.3), 3, steps=2) == [0.3] * 6
