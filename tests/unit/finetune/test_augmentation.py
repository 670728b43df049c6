"""Random crops and flips, image by image, against slow and obvious ones."""

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.finetune.augmentation import augment, boxes
from obtransfer.finetune.loop import finetune

IMAGES = torch.rand(6, 3, 8, 10, generator=torch.Generator().manual_seed(0))
NUMBERS = np.array([4, 0, 9, 2, 7, 5])


def test_none_is_the_batch_itself():
    assert augment(IMAGES, "none", 0, 0, NUMBERS) is IMAGES


def test_flips_are_exact_and_of_about_half_the_images():
    many = torch.rand(400, 1, 2, 3, generator=torch.Generator().manual_seed(1))
    found = augment(many, "flip", 0, 0, np.arange(400))
    flipped = [torch.equal(new, old.flip(2)) for new, old in zip(found, many, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(found, many, strict=True)]
    assert sum(flipped) + sum(kept) == 400 and 160 < sum(flipped) < 240


@pytest.mark.parametrize("kind", ["flip", "crop_flip"])
def test_an_image_is_treated_alike_in_any_batch_and_otherwise_in_another_epoch(kind):
    whole = augment(IMAGES, kind, 3, 1, NUMBERS)
    alone = [augment(IMAGES[i : i + 1], kind, 3, 1, NUMBERS[i : i + 1])[0] for i in range(6)]
    torch.testing.assert_close(torch.stack(alone), whole)
    assert not torch.equal(augment(IMAGES, kind, 3, 2, NUMBERS), whole)
    assert not torch.equal(augment(IMAGES, kind, 4, 1, NUMBERS), whole)


def test_a_crop_is_bilinear_between_the_pixels_of_its_box():
    draws = torch.tensor([[0.3, 0.7, 0.2, 0.9, 0.8]], dtype=torch.float64)  # not flipped
    (centre,), (half,) = boxes(draws)
    ramp = torch.arange(10.0).repeat(8, 1)  # its value at x is x, so that a crop's values are its places
    from obtransfer.finetune.augmentation import _crop

    found = _crop(ramp[None, None], centre[None], half[None])[0, 0]
    x = centre[0] + half[0] * ((2 * torch.arange(10) + 1) / 10 - 1)  # pixel centres, −1 … 1
    places = ((x + 1) * 10 - 1) / 2
    assert torch.allclose(found, places.clamp(0, 9).repeat(8, 1), atol=1e-5)


def test_boxes_lie_inside_and_have_the_area_and_ratio_that_were_drawn():
    draws = torch.rand(2000, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    centre, half = boxes(draws)
    assert bool((centre.abs() + half <= 1 + 1e-6).all())
    free = (half < 1).all(dim=1)
    area = (0.08 + 0.92 * draws[:, 0]).float()
    assert torch.allclose(half.prod(dim=1)[free], area[free], rtol=1e-5)
    ratio = half[free, 0] / half[free, 1]
    assert 0.74 < float(ratio.min()) < 0.80 and 1.25 < float(ratio.max()) < 1.34


class Narrow(torch.nn.Module):
    """Runs out of memory on more than `most` images."""

    def __init__(self, most, norm=False):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 5, 3)
        self.norm = torch.nn.BatchNorm2d(5) if norm else torch.nn.Identity()
        self.most, self.sizes = most, []

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many")
        self.sizes.append(len(x))
        return self.norm(self.conv(x)).mean(dim=(2, 3))


def test_a_batch_that_does_not_fit_goes_in_parts_with_the_same_result(make_run, make_settings, capsys):
    settings = make_settings(augmentation="crop_flip", batch_size=8)
    wide, narrow = Narrow(100), Narrow(3)
    histories = [finetune(make_run(net, settings=settings)) for net in (wide, narrow)]
    assert narrow.sizes[:4] == [2, 2, 2, 2] and max(narrow.sizes) == 2
    for one, other in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert float((one - other).norm() / one.norm()) < 1e-5  # sums in another order
    assert [h["loss"] for h in histories[0]] == pytest.approx([h["loss"] for h in histories[1]], rel=1e-5)
    told = capsys.readouterr().err
    assert "going on with 4" in told and "going on with 2" in told and told.count("going on") == 2


def test_parts_are_refused_where_they_would_change_the_result(make_run, make_settings):
    settings = make_settings(batchnorm="trained")
    with pytest.raises(ObtransferError, match=r"lower finetune\.batch_size"):
        finetune(make_run(Narrow(3, norm=True), settings=settings))
    with pytest.raises(ObtransferError, match="not even one image"):
        finetune(make_run(Narrow(0)))
