"""Recalibrated statistics against numpy, layer by layer."""

import copy

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.batchnorm import recalibrate_batchnorm
from torch import nn


def numpy_statistics(net, x):
    """Mean and biased variance of both layers' inputs, each behind the layers already normalised."""
    with torch.no_grad():
        first = net.first(x).double().numpy()
        mean, var = first.mean(axis=(0, 2, 3)), first.var(axis=(0, 2, 3))
        shape = (1, -1, 1, 1)
        normalised = (first - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + net.norm_first.eps)
        second = net.second(torch.relu(torch.from_numpy(normalised).float())).double().numpy()
    return [(mean, var), (second.mean(axis=(0, 2, 3)), second.var(axis=(0, 2, 3)))]


@pytest.mark.parametrize("batch_size", [None, 25, 7, 1])
def test_equals_numpy_over_all_images_for_every_batch_size(net, pixels, norm, as_input, batch_size):
    expected = numpy_statistics(net, as_input(pixels))
    recalibrate_batchnorm(net, pixels, batch_size=batch_size, **norm)
    for layer, (mean, var) in zip((net.norm_first, net.norm_last), expected, strict=True):
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_nothing_else_changes(net, pixels, norm, batch_size):
    net.train()
    net.norm_last.eval()
    net.norm_first.num_batches_tracked.fill_(5)
    before = copy.deepcopy(net.state_dict())
    recalibrate_batchnorm(net, pixels, batch_size=batch_size, **norm)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {
        f"norm_{which}.running_{what}" for which in ("first", "last") for what in ("mean", "var")
    }
    assert net.training and net.norm_first.training and not net.norm_last.training
    assert net.norm_first.momentum == 0.1 and not net.norm_first._forward_pre_hooks
    assert all(not tensor.is_inference() for tensor in net.state_dict().values())


def test_it_repairs_rescaled_weights(net, pixels, norm, as_input):
    """Scaling the weights before a BatchNorm layer changes nothing once its statistics are measured again."""
    recalibrate_batchnorm(net, pixels, **norm)
    with torch.no_grad():
        expected = net(as_input(pixels))
        net.first.weight.mul_(3.0)
        assert not torch.allclose(net(as_input(pixels)), expected, atol=1e-2)
    recalibrate_batchnorm(net, pixels, **norm)
    with torch.no_grad():
        assert torch.allclose(net(as_input(pixels)), expected, rtol=1e-3, atol=1e-4)


def test_dead_channels_are_set_to_zero_and_stay_finite(net, pixels, norm, as_input):
    with torch.no_grad():
        net.first.weight.zero_()
    recalibrate_batchnorm(net, pixels, **norm)
    assert not net.norm_first.running_mean.any() and not net.norm_first.running_var.any()
    with torch.no_grad():
        assert net(as_input(pixels)).isfinite().all()


def test_a_model_without_statistics_is_refused(pixels, norm):
    for model in (
        nn.Sequential(nn.Conv2d(3, 2, 3)),
        nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)),
    ):
        with pytest.raises(ObtransferError, match="needs a model with BatchNorm"):
            recalibrate_batchnorm(model, pixels, **norm)


def test_refusals(net, pixels, norm):
    with pytest.raises(ObtransferError, match="two images or more"):
        recalibrate_batchnorm(net, pixels[:1], **norm)
    shared = nn.BatchNorm2d(3)
    with pytest.raises(ObtransferError, match=r"used twice.*: 0;"):
        recalibrate_batchnorm(nn.Sequential(shared, shared), pixels, **norm)
    with torch.no_grad():
        net.second.weight[0] = torch.inf
    with pytest.raises(ObtransferError, match="norm_last needs finite inputs; got NaN or infinity in 1 of 6"):
        recalibrate_batchnorm(net, pixels, **norm)
    assert not net.norm_last._forward_pre_hooks
