"""A head folded into its network gives the head's logits."""

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.export.load import fold_head
from obtransfer.heads.ridge import RidgeHead
from obtransfer.models.build import build
from torch import nn

torch.set_num_threads(1)


def drawn_head(num_features: int) -> RidgeHead:
    generator = np.random.default_rng(0)
    return RidgeHead(generator.normal(size=(5, num_features)), generator.normal(size=5))


@pytest.mark.parametrize(
    ("architecture", "size"), [("miniresnet", 32), ("minivit", 32), ("test_resnet", 160), ("test_vit", 160)]
)
def test_logits_of_the_head_by_timms_classifier(architecture: str, size: int) -> None:
    torch.manual_seed(0)
    model, images = build(architecture), torch.randn(3, 3, size, size)
    names = {*model.state_dict()}
    with torch.no_grad():
        head = drawn_head(model(images).shape[1])
        expected = model(images).double().numpy() @ head.weight.T + head.bias
        fold_head(model, head)
        np.testing.assert_allclose(model(images).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert len({*model.state_dict()} - names) == 2 and not model.training


def test_two_classifiers_are_refused() -> None:
    model = build("deit_tiny_distilled_patch16_224")
    with pytest.raises(
        ObtransferError,
        match=r"one linear layer of the 192 features; got tuple.*export this model as `features`",
    ):
        fold_head(model, drawn_head(192))


def test_a_convolution_as_classifier_is_refused() -> None:
    from timm.models.resnetv2 import ResNetV2

    model = ResNetV2((1, 1), channels=(128, 256), num_classes=0, stem_chs=32)
    with pytest.raises(ObtransferError, match="got Conv2d"):
        fold_head(model, drawn_head(256))


def test_a_head_of_another_network_is_refused() -> None:
    with pytest.raises(ObtransferError, match="must read the network's 128 features; got a head for 96"):
        fold_head(build("miniresnet"), drawn_head(96))


def test_the_rest_of_the_network_is_left_alone() -> None:
    model = build("minivit")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold_head(model, drawn_head(96))
    assert isinstance(model.head, nn.Linear)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
