"""Learning rates by hand, and what settings are refused."""

import pytest
from obtransfer.errors import ObtransferError
from obtransfer.finetune.learning_rate import learning_rate
from obtransfer.finetune.settings import FinetuneSettings


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


def test_all_wrong_settings_are_told_at_once():
    with pytest.raises(ObtransferError) as caught:
        FinetuneSettings(
            epochs=0, batch_size=2.5, learning_rate=0.0, momentum=1.0, weight_decay=-1.0, schedule="step",
            milestones=(3, 3), gamma=0.0, batchnorm="keep",
        )  # fmt: skip
    names = [
        "epochs",
        "batch_size",
        "learning_rate",
        "momentum",
        "weight_decay",
        "schedule",
        "milestones",
        "gamma",
    ]
    for name in [*names, "batchnorm", "multistep, cosine, constant", "frozen, trained", "got 2.5", "(3, 3)"]:
        assert name in str(caught.value)
