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


def vit_small_patch16_224_h12() -> nn.Module:
    """MoCo v3's ViT-S: timm's with 12 heads of 32 instead of 6 of 64, which no tensor's shape tells."""
    import timm

    model: nn.Module = timm.create_model(
        "vit_small_patch16_224", pretrained=False, num_classes=0, num_heads=12
    )
    return model


_OURS = {
    "miniresnet": miniresnet,
    "minivit": minivit,
    "vit_small_patch16_224_h12": vit_small_patch16_224_h12,
}


def build(architecture: str) -> nn.Module:
    """A network with random weights, float32, in evaluation mode, without classifier.

    Args:
        architecture: one of ours or the name of any timm model; a tag behind a point (``resnet50.tv_in1k``) chooses the
            size of its images and nothing else.

    Returns:
        Module with forward(x [B, 3, H, W]) -> features [B, D].

    Raises:
        ObtransferError: no such architecture.
    """
    if architecture in _OURS:
        return _OURS[architecture]().eval()
    import timm

    name = architecture.partition(".")[0]
    if not timm.is_model(name):
        raise ObtransferError(
            f"architecture {architecture!r} is neither one of {', '.join(_OURS)} nor a timm model; "
            f"near names in timm: {', '.join(timm.list_models(f'*{name[:6]}*')[:8]) or 'none'}"
        )
    model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0)
    return model.eval()


def build_empty(architecture: str) -> nn.Module:
    """As `build`, on torch's meta device: names and shapes without values, and without the seconds that random ones take."""
    import torch

    try:
        with torch.device("meta"):
            return build(architecture)
    except (RuntimeError, NotImplementedError):  # a constructor that looks at values
        return build(architecture)


def num_features(model: nn.Module) -> int:
    """D: the length of the features [B, D]; some of timm's models have a hidden layer before the classifier."""
    return int(getattr(model, "head_hidden_size", None) or model.num_features)  # type: ignore[arg-type]


def classifier(architecture: str) -> tuple[str, ...]:
    """Names of the modules that make classes of features in timm's model of that name.

    timm names their last layer (``head.linear``); what lies around it is part of them unless `build` keeps some of it.
    """
    if architecture in _OURS:
        return ("fc",) if "resnet" in architecture else ("head",)
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(architecture)
    names = config.classifier if config else ()
    kept = tuple(build_empty(architecture).state_dict())
    return tuple(_widest(name, kept) for name in ((names,) if isinstance(names, str) else names or ()))


def _widest(name: str, kept: tuple[str, ...]) -> str:
    """The outermost module around `name` without any of the `kept` tensors."""
    outer = name.rpartition(".")[0]
    return _widest(outer, kept) if outer and not any(key.startswith(f"{outer}.") for key in kept) else name
