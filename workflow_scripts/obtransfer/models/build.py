"""Networks without a classifier: images [B, 3, H, W] to features [B, D]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    from torch import nn


_STEM_CHANNELS = 64  # timm's


def miniresnet() -> nn.Module:
    """ResNet with one basic block per stage, for 32 × 32 images; 0.5 M weights, 128 features.

    The stem is a 3 × 3 convolution with stride 2 and a max-pool; without stride the network is four times slower. The
    last normalisation of a block does not start at zero: from zero, self-supervised training of a network this shallow
    stays at chance.
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
    """MoCo v3's ViT-S: timm's with 12 heads of 32 in place of 6 of 64. No tensor's shape shows the difference."""
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
    """A network with random weights, float32, in evaluation mode, without a classifier.

    Args:
        architecture: one of ours, or the name of any timm model; a tag (``resnet50.tv_in1k``) only sets the size of its
            images.

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
            f"needed one of the architectures {', '.join(_OURS)} or a timm model; got {architecture!r}; similar names in "
            f"timm: {', '.join(timm.list_models(f'*{name[:6]}*')[:8]) or 'none'}"
        )
    model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0)
    return model.eval()


def build_empty(architecture: str) -> nn.Module:
    """As `build`, on torch's meta device: names and shapes without values, and without the time to draw them."""
    import torch

    try:
        with torch.device("meta"):
            return build(architecture)
    except (RuntimeError, NotImplementedError):  # a constructor that looks at values
        return build(architecture)


def num_features(model: nn.Module) -> int:
    """D: the length of the features [B, D]. Some timm models have a hidden layer before the classifier."""
    return int(getattr(model, "head_hidden_size", None) or model.num_features)  # type: ignore[arg-type]


def classifier(architecture: str) -> tuple[str, ...]:
    """Names of the modules that turn features into classes in timm's model of that name.

    timm names their last layer (``head.linear``). The modules around it belong to them, unless `build` keeps a part.
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
