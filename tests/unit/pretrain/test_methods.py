"""Each pre-training method keeps the properties that define it, on a tiny network."""

import copy
import math

import pytest
import torch
from obtransfer.pretrain.dino import Dino, Prototypes, local_crops
from obtransfer.pretrain.method import Method
from obtransfer.pretrain.mocov2 import MoCoV2
from obtransfer.pretrain.supervised import Supervised
from torch import Tensor, nn


class Tiny(nn.Module):
    """Convolution, BatchNorm, mean: [B, 3, H, W] to [B, 6]; counts its images and remembers their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.seen: list[tuple[int, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append((len(images), images.shape[-1]))
        return torch.relu(self.norm(self.convolution(images))).mean(dim=(2, 3))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _views(count: int, batch: int = 4) -> list[Tensor]:
    return [torch.randn(batch, 3, 8, 8) for _ in range(count)]


def _moco(**options: float) -> MoCoV2:
    torch.manual_seed(0)
    return MoCoV2(Tiny(), 6, dimension=5, hidden=7, **options)


def _dino(**options: float) -> Dino:
    torch.manual_seed(0)
    return Dino(Tiny(), 6, prototypes=9, hidden=7, bottleneck=5, local_size=4, **options)


def _step(method: Method, progress: float = 0.5, labels: Tensor | None = None) -> Tensor:
    loss = method.loss(
        _views(method.num_views),
        torch.zeros(4, dtype=torch.int64) if labels is None else labels,
        _generator(),
    )
    loss.backward()
    with torch.no_grad():
        for parameter in method.trained_parameters():
            parameter.sub_(0.1 * parameter.grad)
    method.after_step(progress)
    return loss


def test_supervised_loss_is_smoothed_cross_entropy() -> None:
    torch.manual_seed(0)
    method = Supervised(Tiny(), 6, num_classes=3, label_smoothing=0.3)
    views, labels = _views(1), torch.tensor([0, 2, 1, 1])
    logarithms = torch.log_softmax(method.classifier(method.backbone(views[0])), dim=1)
    target = 0.7 * nn.functional.one_hot(labels, 3) + 0.1
    torch.testing.assert_close(
        method.loss(views, labels, _generator()), -(target * logarithms).sum(dim=1).mean()
    )


@pytest.mark.parametrize("make", [_moco, _dino])
def test_self_supervised_methods_do_not_read_labels(make: type) -> None:
    torch.manual_seed(5)
    first = _step(make(), labels=torch.zeros(4, dtype=torch.int64))
    torch.manual_seed(5)
    second = _step(make(), labels=torch.arange(4))
    assert first.item() == second.item()


def test_moco_loss_is_info_nce() -> None:
    method = _moco(queue_size=11, temperature=0.3, momentum=0.5)
    _step(method)  # the two encoders are equal before it
    views, queue = _views(2), method.queue.clone()
    expected = copy.deepcopy(method)
    loss = method.loss(views, torch.zeros(4), _generator())
    unit = nn.functional.normalize
    queries = unit(expected.head(expected.backbone(views[0])), dim=1)
    keys = unit(expected.key_head(expected.key_backbone(views[1])), dim=1)
    terms = []
    for query, key in zip(queries, keys, strict=True):
        positive = torch.exp(query @ key / 0.3)
        terms.append(-torch.log(positive / (positive + torch.exp(queue @ query / 0.3).sum())))
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_moco_key_encoder_is_the_moving_average_and_takes_no_gradient() -> None:
    method = _moco(queue_size=8, momentum=0.9)
    for _ in range(3):
        before = [p.clone() for p in (*method.key_backbone.parameters(), *method.key_head.parameters())]
        _step(method)
        now = [*method.key_backbone.parameters(), *method.key_head.parameters()]
        online = [*method.backbone.parameters(), *method.head.parameters()]
        for old, new, source in zip(before, now, online, strict=True):
            torch.testing.assert_close(new, 0.9 * old + 0.1 * source, rtol=0, atol=1e-6)
            assert new.grad is None and not new.requires_grad
            assert new.data_ptr() != source.data_ptr()
        assert not torch.equal(method.key_backbone.convolution.weight, method.backbone.convolution.weight)


def test_moco_queue_wraps_around_and_holds_the_newest_keys() -> None:
    method = _moco(queue_size=7)
    keys = torch.arange(12.0)[:, None].expand(12, 5)
    for batch in keys.split(4):
        method.enqueue(batch)
    assert method.queue[:, 0].tolist() == [7, 8, 9, 10, 11, 5, 6]
    assert int(method.position) == 5


def test_moco_queue_takes_the_keys_of_the_second_view_after_the_loss() -> None:
    method = _moco(queue_size=8)
    twin, views = copy.deepcopy(method), _views(2)
    method.loss(views, torch.zeros(4), _generator())
    keys = nn.functional.normalize(twin.key_head(twin.key_backbone(views[1])), dim=1)
    torch.testing.assert_close(method.queue[:4], keys)
    assert torch.equal(method.queue[4:], twin.queue[4:])


def test_dino_teacher_is_the_moving_average_with_rising_momentum_and_takes_no_gradient() -> None:
    method = _dino(momentum=0.8)
    for progress in (0.0, 0.25, 1.0):
        momentum = 1 - 0.2 * (1 + math.cos(math.pi * progress)) / 2
        before = [
            p.clone() for p in (*method.teacher_backbone.parameters(), *method.teacher_head.parameters())
        ]
        _step(method, progress)
        now = [*method.teacher_backbone.parameters(), *method.teacher_head.parameters()]
        online = [*method.backbone.parameters(), *method.head.parameters()]
        for old, new, source in zip(before, now, online, strict=True):
            torch.testing.assert_close(new, momentum * old + (1 - momentum) * source, rtol=0, atol=1e-6)
            assert new.grad is None and not new.requires_grad
    assert momentum == 1


def test_dino_centre_moves_by_the_mean_of_the_teacher_outputs() -> None:
    method = _dino(centre_momentum=0.75)
    views = _views(2)
    twin = copy.deepcopy(method)
    outputs = twin.teacher_head(twin.teacher_backbone(torch.cat(views)))
    method.centre.fill_(0.5)
    method.loss(views, torch.zeros(4), _generator())
    torch.testing.assert_close(
        method.centre, 0.75 * torch.full((9,), 0.5) + 0.25 * outputs.detach().mean(dim=0)
    )


def test_dino_local_crops_only_go_through_the_student() -> None:
    method = _dino(local_crops=2)
    _step(method)
    assert method.backbone.seen == [(8, 8), (8, 4)]
    assert method.teacher_backbone.seen == [(8, 8)]


def test_dino_distillation_skips_equal_views_centres_and_sharpens() -> None:
    method = _dino()
    method.centre.copy_(torch.linspace(-0.1, 0.1, 9))
    students, teachers = [torch.rand(4, 9) for _ in range(3)], [torch.rand(4, 9) for _ in range(2)]
    terms = []
    for i, teacher in enumerate(teachers):
        target = torch.softmax((teacher - method.centre) / 0.04, dim=1)
        for j, student in enumerate(students):
            if i != j:
                terms.append(-(target * torch.log_softmax(student / 0.1, dim=1)).sum(dim=1).mean())
    assert len(terms) == 4
    torch.testing.assert_close(method.distillation(students, teachers), sum(terms) / 4)


def test_dino_prototypes_are_weight_normalised() -> None:
    torch.manual_seed(0)
    head = Prototypes(6, 7, 5, 9, batchnorm=False)
    features = torch.randn(4, 6)
    cosines = head(features)
    assert cosines.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        head.directions.mul_(3)
    torch.testing.assert_close(head(features), cosines)


def test_dino_prototypes_keep_still_at_first() -> None:
    method = _dino(frozen_steps_part=0.1)
    for progress, moves in ((0.05, False), (0.2, True)):
        method.zero_grad()
        method.loss(_views(2), torch.zeros(4), _generator()).backward()
        method.before_step(progress)
        assert (method.head.directions.grad is not None) is moves


def test_local_crop_of_the_whole_image_is_the_image_and_smaller_ones_lie_inside() -> None:
    ramp = torch.arange(8.0).expand(1, 3, 8, 8).repeat(50, 1, 1, 1)
    torch.testing.assert_close(local_crops(ramp, 8, (1.0, 1.0), torch.Generator()), ramp)
    crops = local_crops(ramp, 4, (0.5, 0.5), torch.Generator().manual_seed(0))
    torch.testing.assert_close(crops.diff(dim=-1), torch.ones(50, 3, 4, 3))
    assert crops.min() >= 0 and crops.max() <= 7
    assert crops[:, 0, 0, 0].unique().numel() > 40
