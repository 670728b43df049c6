"""Stopping and going on gives the bits of a run that never stopped; checkpoints that do not fit are not used."""

import warnings

import pytest
import torch
from obtransfer.finetune.loop import FinetuneInterrupted, finetune
from obtransfer.heads.ridge import RidgeHead
from obtransfer.masks.mask import Mask


def state(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def start(make_run, make_net, make_settings, mask):
    """Run on a fresh network; keywords override the parts. Returns history and final state."""

    def start(checkpoint=None, progress=None, should_stop=None, **changes):
        net = changes.pop("net", None) or make_net(dropout=0.5)
        run = make_run(net, **{"mask": mask, "settings": make_settings(batchnorm="trained")} | changes)
        history = finetune(run, checkpoint=checkpoint, progress=progress, should_stop=should_stop)
        return history, state(net)

    return start


def after(steps):
    """A wish to stop that is there from the given step of this start on."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= steps


@pytest.fixture
def interrupted(start, tmp_path):
    """A checkpoint after the first epoch of three, which has three steps."""
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(FinetuneInterrupted, match="after 1 of 3 epochs; run"):
        start(checkpoint=path, should_stop=after(3))
    return path


def test_resumed_is_bit_identical(start, interrupted):
    history, expected = start()
    steps = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed_history, resumed = start(checkpoint=interrupted, progress=lambda *done: steps.append(done))
    assert same(expected, resumed) and resumed_history == history and len(history) == 3
    assert steps == [(i, 9) for i in range(4, 10)]


def test_stopped_after_every_epoch_is_bit_identical(start, interrupted):
    history, expected = start()
    with pytest.raises(FinetuneInterrupted, match="after 2 of 3 epochs; run"):
        start(checkpoint=interrupted, should_stop=after(3))
    resumed_history, resumed = start(checkpoint=interrupted, should_stop=after(3))
    assert same(expected, resumed) and resumed_history == history


def test_stopped_after_every_step_is_bit_identical(start, make_settings, tmp_path):
    settings = {"settings": make_settings(batchnorm="trained", augmentation="crop_flip")}
    history, expected = start(**settings)
    path = tmp_path / "checkpoint.safetensors"
    for step in range(1, 9):
        with pytest.raises(FinetuneInterrupted, match=f"after {step // 3} of 3 epochs"):
            start(checkpoint=path, should_stop=lambda: True, **settings)
    resumed_history, resumed = start(checkpoint=path, should_stop=lambda: True, **settings)
    assert same(expected, resumed) and resumed_history == history


def test_killed_in_the_middle_of_an_epoch_is_bit_identical(start, tmp_path):
    def die(done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(checkpoint=tmp_path / "c", progress=die)
    assert same(start()[1], start(checkpoint=tmp_path / "c")[1])


@pytest.mark.parametrize("damage", ["altered", "truncated", "empty", "pickle"])
def test_damaged_checkpoint_is_told_and_not_used(start, interrupted, damage):
    content = interrupted.read_bytes()
    altered = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    damaged = {"altered": altered, "truncated": content[:-100], "empty": b"", "pickle": b"\x80\x04N."}
    interrupted.write_bytes(damaged[damage])
    steps = []
    with pytest.warns(UserWarning, match="starts over"):
        _, found = start(checkpoint=interrupted, progress=lambda *done: steps.append(done))
    assert same(start()[1], found) and steps[0] == (1, 9)


@pytest.mark.parametrize(
    "what",
    ["settings", "mask", "no mask", "seed", "weights", "head", "pixels", "labels", "norm", "precision"],
)
def test_checkpoint_of_another_run_is_told_and_not_used(
    start, interrupted, what, make_net, make_settings, mask, task
):
    other_net = make_net(dropout=0.5)
    with torch.no_grad():
        other_net.fc.bias[0] += 1e-3
    head, pixels, labels = task
    changes = {
        "settings": {"settings": make_settings(batchnorm="trained", weight_decay=0.0)},
        "mask": {"mask": Mask({name: ~keep for name, keep in mask.kept.items()})},
        "no mask": {"mask": None},
        "seed": {"seed": 1},
        "weights": {"net": other_net},
        "head": {"task": (RidgeHead(head.weight, head.bias + 1e-3), pixels, labels)},
        "pixels": {"task": (head, pixels ^ 1, labels)},
        "labels": {"task": (head, pixels, labels[::-1].copy())},
        "norm": {"mean": (0.5, 0.4, 0.31)},
        "precision": {"precision": "bfloat16"},
    }[what]
    steps = []
    with pytest.warns(UserWarning, match="other settings, mask, seed, weights or data"):
        start(checkpoint=interrupted, progress=lambda *done: steps.append(done), **changes)
    assert steps[0] == (1, 9)


def test_no_checkpoint_no_files_and_nothing_is_asked_after_the_last_epoch(start, make_settings, tmp_path):
    settings = make_settings(epochs=1)
    history, _ = start(checkpoint=tmp_path / "c", settings=settings, should_stop=after(3))
    assert len(history) == 1 and not list(tmp_path.iterdir())
    with pytest.raises(FinetuneInterrupted, match="no checkpoint"):
        start(should_stop=lambda: True)
