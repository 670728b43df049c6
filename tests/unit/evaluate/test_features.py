"""Features: a plain forward pass, whatever the batches and the modes."""

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.evaluate import features
from obtransfer.evaluate.features import extract_features
from torch import nn


@pytest.mark.parametrize("batch_size", [1, 7, 25, 100])
def test_equals_a_plain_forward_for_every_batch_size(net, pixels, norm, as_input, batch_size):
    with torch.no_grad():
        expected = net(as_input(pixels)).numpy()
    found = extract_features(net, pixels, batch_size=batch_size, **norm)
    assert found.dtype == np.float32 and found.shape == (25, 6)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_does_not_depend_on_modes_and_leaves_the_model_as_it_was(net, pixels, norm):
    expected = extract_features(net, pixels, batch_size=10, **norm)
    net.train()
    net.norm_first.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    np.testing.assert_array_equal(extract_features(net, pixels, batch_size=10, **norm), expected)
    assert net.training and net.dropout.training and net.norm_last.training and not net.norm_first.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_flags_come_back_after_an_error(pixels, norm):
    model = nn.Sequential(nn.Conv2d(3, 2, 3)).train()
    with pytest.raises(ObtransferError, match=r"features \[10, D\]; got \[10, 2, 6, 6\]"):
        extract_features(model, pixels, batch_size=10, **norm)
    assert model.training and model[0].training


def test_order_of_images_is_kept_and_progress_told(net, pixels, norm):
    told = []
    found = extract_features(net, pixels, batch_size=10, progress=lambda *done: told.append(done), **norm)
    assert told == [(10, 25), (20, 25), (25, 25)]
    order = np.random.default_rng(1).permutation(25)
    shuffled = extract_features(net, pixels[order], batch_size=10, **norm)
    np.testing.assert_allclose(shuffled, found[order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("count", "batch_size"), [(0, 4), (3, 0)])
def test_refusals(net, pixels, norm, count, batch_size):
    with pytest.raises(ObtransferError, match=f"got {count} and {batch_size}"):
        extract_features(net, pixels[:count], batch_size=batch_size, **norm)


class Narrow(nn.Module):
    """Runs out of memory on more than `most` images."""

    def __init__(self, net, most):
        super().__init__()
        self.net, self.most = net, most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many")
        return self.net(x)


def test_a_size_that_fits_is_noted_for_the_next_run(net, pixels, norm, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OBTRANSFER_BATCH_SIZES", str(tmp_path / "sizes.json"))
    for tried in ("25, 12", ""):
        extract_features(Narrow(net, 7), pixels, batch_size=100, **norm)
        told = capsys.readouterr().err
        assert [text for text in ("25", "12") if f"{text} images at once do not fit" in told] == (
            tried.split(", ") if tried else []
        )
    told = []
    extract_features(net, pixels, batch_size=50, progress=lambda *done: told.append(done), **norm)
    assert told == [(25, 25)]  # what was asked for then says nothing of another size
    (tmp_path / "sizes.json").write_text("half a fi")
    extract_features(Narrow(net, 7), pixels, batch_size=100, **norm)
    assert "25 images at once do not fit" in capsys.readouterr().err


def test_a_cpu_computes_in_float32(net, pixels, norm):
    expected = extract_features(net, pixels, batch_size=25, **norm)
    found = extract_features(net, pixels, batch_size=25, precision="bfloat16", **norm)
    np.testing.assert_array_equal(found, expected)


def test_bfloat16_rounds_features(net, pixels, norm, monkeypatch):
    """With what a GPU would do, on the CPU."""
    expected = extract_features(net, pixels, batch_size=25, **norm)
    monkeypatch.setattr(features, "autocast", lambda device, _: torch.autocast(device.type, torch.bfloat16))
    found = extract_features(net, pixels, batch_size=25, precision="bfloat16", **norm)
    assert found.dtype == np.float32
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 2**-16 < error < 2**-5  # one rounding is 2^-9


def test_images_that_do_not_fit_go_in_smaller_batches(net, pixels, norm, capsys):
    told = []
    expected = extract_features(net, pixels, batch_size=25, **norm)
    narrow = Narrow(net, 7)
    found = extract_features(narrow, pixels, batch_size=100, progress=lambda *done: told.append(done), **norm)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert told[0] == (6, 25) and told[-1] == (25, 25)
    assert "25 images at once do not fit in memory, going on with 12" in capsys.readouterr().err
    with pytest.raises(ObtransferError, match="not even one image"):
        extract_features(Narrow(net, 0), pixels, batch_size=100, **norm)
