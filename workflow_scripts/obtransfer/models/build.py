"""Networks without classifier: images [B, 3, H, W] to features [B, D]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    from torch import nn


_STEM_CHANNELS = 64  # timm's


def miniresnet() -> nn.Module:
    """ResNet of one basic block a stage, for 32 × 32 images; 0.5 M weights, 128 features.

    Stride-2 3 × 3 stem and max-pool, which makes it four times faster than a stem without stride. The last
    normalisation of a block does not start at zero: self-supervised training of so shallow a network stays at chance
    when it does.
    """
    from timm.models.resnet import BasicBlock, ResNet
    from torch import nn

    block: Any = BasicBlock  # timm's annotation asks for an instance, its code for the class
    model: nn.Module = ResNet(
        block, (1, 1, 1, 1), channels=(32, 64, 96, 128), num_classes=0, zero_init_last=False
    )
    model.conv1 = nn.Conv2d(3, _STEM_CHANNELS, kernel_size=3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def minivit(*, dynamic_img_size: bool = False) -> nn.Module:
    """Vision transformer for 32 × 32 images in 16 patches; 0.6 M weights, 96 features.

    The features are the mean of the patch tokens, then normalised; there is no class token.

    Args:
        dynamic_img_size: interpolate the position embedding for images of other sizes (same weights).
    """
    from timm.models.vision_transformer import VisionTransformer

    model: nn.Module = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=96,
        depth=5,
        num_heads=3,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        dynamic_img_size=dynamic_img_size,
    )
    return model


_MINI = {"miniresnet": miniresnet, "minivit": minivit}


def build(architecture: str) -> nn.Module:
    """A network with random weights, float32, in evaluation mode, without classifier.

    Args:
        architecture: miniresnet, minivit or the name of any timm model.

    Returns:
        Module with forward(x [B, 3, H, W]) -> features [B, D] and an attribute `num_features` = D.

    Raises:
        ObtransferError: no such architecture.
    """
    if architecture in _MINI:
        return _MINI[architecture]().eval()
    import timm

    if architecture not in timm.list_models():
        raise ObtransferError(
            f"architecture {architecture!r} is neither one of {', '.join(_MINI)} nor a timm model; "
            f"near names in timm: {', '.join(timm.list_models(f'*{architecture[:6]}*')[:8]) or 'none'}"
        )
    model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0)
    return model.eval()
