"""Masks on models."""

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.masks.apply import apply_mask, hold
from obtransfer.masks.mask import Mask
from torch import nn


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))


def small_mask():
    generator = np.random.default_rng(0)
    return {"0.weight": generator.random((3, 2, 3, 3)) < 0.5, "3.weight": generator.random((4, 3)) < 0.5}


def test_removed_weights_become_zero_and_nothing_else_changes():
    model, mask = small_model(), small_mask()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    apply_mask(model, Mask(mask))
    for name, tensor in model.state_dict().items():
        if name not in mask:
            assert torch.equal(tensor, before[name])
            continue
        keep = torch.from_numpy(mask[name])
        assert torch.equal(tensor[keep], before[name][keep])
        gone = tensor[~keep]
        assert len(gone) and bool((gone == 0).all()) and not bool(torch.signbit(gone).any())


def test_applied_in_place_and_invisible_to_autograd():
    model = small_model()
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    apply_mask(model, Mask(small_mask()))
    assert pointers == [parameter.data_ptr() for parameter in model.parameters()]
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


def test_hold_changes_nothing_until_called_and_keeps_the_mask_through_momentum():
    model, mask = small_model(), small_mask()
    before = model[3].weight.detach().clone()
    put_on = hold(model, Mask(mask))
    assert torch.equal(model[3].weight, before)
    velocity = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    revived = False
    for _ in range(3):
        loss = model(torch.randn(5, 2, 3, 3)).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():  # SGD by hand: the first step of torch.optim imports for 10 s
            for (name, weight), gradient in zip(model.named_parameters(), gradients, strict=True):
                velocity[name].mul_(0.9).add_(gradient + 0.1 * weight)
                weight.sub_(0.1 * velocity[name])
        revived |= bool(model[3].weight.detach()[~torch.from_numpy(mask["3.weight"])].any())
        put_on()
        for name, keep in mask.items():
            assert not bool(model.get_parameter(name).detach()[~torch.from_numpy(keep)].any())
    assert revived  # otherwise this test shows nothing
    assert bool(model[3].weight.detach()[torch.from_numpy(mask["3.weight"])].all())


def test_a_nan_that_is_removed_is_gone_and_one_that_stays_is_seen():
    model = small_model()
    keep = np.ones((4, 3), dtype=bool)
    keep[0, 0] = False
    model[3].weight.data[0, 0] = float("nan")
    apply_mask(model, Mask(small_mask() | {"3.weight": keep}))
    assert model[3].weight[0, 0] == 0
    model[3].weight.data[1, 1] = float("nan")
    apply_mask(model, Mask(small_mask() | {"3.weight": keep}))
    assert bool(model[3].weight[1, 1].isnan())


def test_channels_last_weights():
    model = small_model().to(memory_format=torch.channels_last)
    mask = small_mask()
    apply_mask(model, Mask(mask))
    assert not bool(model[0].weight.detach()[~torch.from_numpy(mask["0.weight"])].any())
    assert bool(model[0].weight.detach()[torch.from_numpy(mask["0.weight"])].all())


def test_everything_that_does_not_fit_is_listed_and_nothing_is_applied():
    model = small_model()
    before = model[0].weight.detach().clone()
    mask = {
        "0.weight": np.zeros((3, 2, 3), dtype=bool),
        "1.weight": np.ones(3, dtype=bool),
        "9.weight": np.ones(1),
    }
    with pytest.raises(ObtransferError) as caught:
        apply_mask(model, Mask(mask))
    message = str(caught.value)
    assert "3.weight: missing from the mask" in message
    assert "1.weight: in the mask, but not a prunable weight" in message
    assert "9.weight: in the mask, but not a prunable weight" in message
    assert "0.weight: mask [3, 2, 3], weight [3, 2, 3, 3]" in message
    assert torch.equal(model[0].weight, before)


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(ObtransferError, match=r"3\.weight: mask is float32, not bool"):
        apply_mask(small_model(), Mask(small_mask() | {"3.weight": np.ones((4, 3), dtype=np.float32)}))


def test_updated_weights_take_their_new_values_and_are_not_held():
    model, mask = small_model(), small_mask()
    updated = np.where(mask["3.weight"], np.arange(12.0, dtype=np.float32).reshape(4, 3), np.float32(0))
    other = model[0].weight.detach().clone()
    put_on = hold(model, Mask(mask, {"3.weight": updated}))
    apply_mask(model, Mask(mask, {"3.weight": updated}))
    np.testing.assert_array_equal(model[3].weight.detach().numpy(), updated)
    keep = torch.from_numpy(mask["0.weight"])
    assert torch.equal(model[0].weight.detach()[keep], other[keep])
    with torch.no_grad():
        model[3].weight.fill_(5.0)
    put_on()
    np.testing.assert_array_equal(model[3].weight.detach().numpy(), 5.0 * mask["3.weight"])
