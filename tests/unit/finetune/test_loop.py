"""Fine-tuning: the steps by hand, the mask, the norms, the history."""

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.finetune.epoch import squared_loss
from obtransfer.finetune.loop import finetune
from obtransfer.heads.ridge import RidgeHead
from obtransfer.masks.mask import Mask
from torch import nn


def test_squared_loss_by_hand():
    logits = torch.tensor([[0.5, 0.5, 0.0], [0.0, 3.0, 0.0]])
    assert squared_loss(logits, torch.tensor([0, 1])).item() == pytest.approx((0.25 + 2.0) / 2)


class LinearNet(nn.Module):
    """One linear layer on the pixels."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x.flatten(1))


def test_two_steps_by_hand(make_run, make_settings):
    """numpy, float64: v ← μ v + g + λ w, w ← w − η v, removed weights to 0; two steps of one batch."""
    torch.manual_seed(0)
    model, rng = LinearNet(), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 1, 1, 3), dtype=np.uint8)
    labels = np.array([0, 1, 1, 0])
    head, head_bias = rng.normal(size=(2, 2)), rng.normal(size=2)
    keep = np.array([[True, False, True], [False, True, True]])
    settings = make_settings(
        epochs=2, batch_size=4, learning_rate=0.2, momentum=0.7, weight_decay=0.3, milestones=(1,), gamma=0.5
    )
    weight, bias = (p.detach().double().numpy() for p in (model.fc.weight, model.fc.bias))
    x = (pixels.reshape(4, 3) / 255 - 0.5) / 0.25
    weight, velocity, bias_velocity = weight * keep, 0.0, 0.0
    losses = []
    for rate in (0.2, 0.1):
        residual = (x @ weight.T + bias) @ head.T + head_bias - np.eye(2)[labels]
        losses.append(0.5 * (residual**2).sum() / 4)
        gradient = residual @ head / 4
        velocity = 0.7 * velocity + gradient.T @ x + 0.3 * weight
        bias_velocity = 0.7 * bias_velocity + gradient.sum(axis=0) + 0.3 * bias
        weight, bias = (weight - rate * velocity) * keep, bias - rate * bias_velocity
    task = RidgeHead(head, head_bias), pixels, labels
    mask = Mask({"fc.weight": keep})
    history = finetune(
        make_run(model, task=task, mask=mask, settings=settings, mean=(0.5,) * 3, std=(0.25,) * 3)
    )
    np.testing.assert_allclose(model.fc.weight.detach().numpy(), weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.fc.bias.detach().numpy(), bias, rtol=1e-5, atol=1e-6)
    assert [entry["learning_rate"] for entry in history] == [0.2, 0.1]
    assert [entry["loss"] for entry in history] == pytest.approx(losses, rel=1e-5)


def test_removed_weights_are_zero_at_every_step_and_the_others_move(make_run, make_net, mask):
    net = make_net()
    seen = []

    def look(done, total):
        seen.append((done, total))
        for name, keep in mask.kept.items():
            removed = net.get_parameter(name).detach().numpy()[~keep]
            assert not removed.any() and not np.signbit(removed).any()

    before = {name: parameter.detach().clone().numpy() for name, parameter in net.named_parameters()}
    run = make_run(net, mask=mask)
    head = run.head.weight.copy()
    finetune(run, progress=look)
    assert seen == [(i, 9) for i in range(1, 10)]
    for name, parameter in net.named_parameters():
        keep = mask.kept.get(name, np.ones(parameter.shape, dtype=bool))
        assert (parameter.detach().numpy() != before[name])[keep].mean() >= 0.75, name
    assert np.array_equal(run.head.weight, head) and not net.training


def test_surviving_weights_are_those_of_a_model_whose_removed_inputs_are_zero(make_run, make_settings):
    """With one output, removing a weight is the same as training without its input: the mask has no side effects."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 1, 1, 3), dtype=np.uint8)
    without = pixels.copy()
    without[..., 1] = 128
    labels = rng.integers(0, 2, 10)
    models = []
    for images, keep in ((pixels, [True, False, True]), (without, [True, True, True])):
        torch.manual_seed(0)
        model = LinearNet()
        with torch.no_grad():
            model.fc.weight[:, 1] = 0.0
        finetune(
            make_run(
                model, task=(RidgeHead(np.eye(2), np.zeros(2)), images, labels), settings=make_settings(batch_size=3),
                mask=Mask({"fc.weight": np.array([keep, keep])}), seed=1, mean=(128 / 255,) * 3, std=(0.25,) * 3,
            )
        )  # fmt: skip
        models.append(model.fc.weight.detach().numpy())
    np.testing.assert_allclose(models[0], models[1], atol=1e-6)


def test_no_mask_trains_all_and_keeps_what_needs_no_gradient(make_run, make_net, make_settings):
    net = make_net()
    net.ln.weight.requires_grad_(False)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    history = finetune(make_run(net, settings=make_settings(epochs=6)))
    unchanged = {name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])}
    assert unchanged == {"ln.weight"}
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]


def test_batchnorm_frozen_keeps_statistics_but_trains_scale_and_shift(
    make_run, make_net, make_settings, mask
):
    net, start = make_net(), make_net()
    net.bn.train()
    finetune(make_run(net, mask=mask, settings=make_settings(batchnorm="frozen")))
    assert torch.equal(net.bn.running_mean, start.bn.running_mean)
    assert torch.equal(net.bn.running_var, start.bn.running_var) and net.bn.num_batches_tracked == 0
    assert not torch.equal(net.bn.weight, start.bn.weight) and not torch.equal(net.bn.bias, start.bn.bias)


def test_batchnorm_trained_changes_statistics(make_run, make_net, make_settings, mask):
    net, start = make_net(), make_net()
    finetune(make_run(net, mask=mask, settings=make_settings(batchnorm="trained")))
    assert not torch.equal(net.bn.running_mean, start.bn.running_mean) and net.bn.num_batches_tracked == 9
    with pytest.raises(ObtransferError, match="of 20 images in batches of 19"):
        finetune(make_run(net, mask=mask, settings=make_settings(batchnorm="trained", batch_size=19)))


def weights_after(run):
    finetune(run)
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


def test_same_seed_same_bits_other_seed_other_order(make_run, make_net, mask):
    first = weights_after(make_run(make_net(), mask=mask, seed=3))
    assert torch.equal(weights_after(make_run(make_net(), mask=mask, seed=3)), first)
    assert not torch.equal(weights_after(make_run(make_net(), mask=mask, seed=4)), first)


def test_every_epoch_sees_every_image_once_in_its_own_order(make_run, make_net):
    net, seen = make_net(), []
    net.register_forward_pre_hook(
        lambda _, inputs: seen.extend(image.numpy().tobytes() for image in inputs[0])
    )
    finetune(make_run(net))
    epochs = [seen[:20], seen[20:40], seen[40:]]
    assert len(set(epochs[0])) == 20 and all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_loss_is_the_mean_over_examples_though_the_last_batch_is_smaller(make_run, make_net, make_settings):
    settings = make_settings(epochs=1, learning_rate=1e-30, batch_size=8)
    (uneven,) = finetune(make_run(make_net(), settings=settings))
    whole = make_settings(epochs=1, learning_rate=1e-30, batch_size=20)
    (at_once,) = finetune(make_run(make_net(), settings=whole))
    assert uneven["loss"] == pytest.approx(at_once["loss"], rel=1e-5)


def test_dropout_follows_the_seed_and_the_global_random_state_is_left_alone(make_run, make_net, mask):
    first = weights_after(make_run(make_net(dropout=0.5), mask=mask, seed=3))
    net = make_net(dropout=0.5)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(weights_after(make_run(net, mask=mask, seed=3)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(weights_after(make_run(make_net(), mask=mask, seed=3)), first)


def test_divergence_names_epoch_step_and_learning_rate(make_run, make_net, make_settings, mask):
    settings = make_settings(learning_rate=1e30, schedule="constant")
    with pytest.raises(
        ObtransferError, match=r"loss that became .* in epoch 0, step 1, at learning rate 1e\+30; lower"
    ):
        finetune(make_run(make_net(), mask=mask, settings=settings))
    with pytest.raises(ObtransferError, match=r"weights that became .* at the end of epoch 0, step 0"):
        settings = make_settings(learning_rate=1e38, batch_size=20, weight_decay=1e4)
        finetune(make_run(make_net(), mask=mask, settings=settings))


def test_refusals(make_run, make_net, mask, task):
    head, pixels, labels = task
    for parts, message in (
        ((RidgeHead(head.weight, head.bias[:2]), pixels, labels), "head must have"),
        ((head, pixels[:5], labels), "N > 0"),
        ((RidgeHead(head.weight[:2], head.bias[:2]), pixels, labels), "use the head of this task"),
    ):
        with pytest.raises(ObtransferError, match=message):
            finetune(make_run(make_net(), task=parts, mask=mask))
    with pytest.raises(ObtransferError, match=r"conv\.weight: missing"):
        finetune(make_run(make_net(), mask=Mask({"fc.weight": mask.kept["fc.weight"]})))
