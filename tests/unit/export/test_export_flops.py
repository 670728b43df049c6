"""FLOPs: by hand, and against torch's own counter on dense models."""

import numpy as np
import pytest
import torch
from obtransfer.export.flops import Flops, count_flops
from obtransfer.models.build import build
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

torch.set_num_threads(1)


class Small(nn.Module):
    """6 × 6 images: convolution 3 → 4 (3 × 3, stride 2, padding 1), grouped convolution, linear layer used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.grouped = nn.Conv2d(4, 6, 2, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Linear(6, 6)

    def forward(self, x):
        x = self.norm(self.grouped(self.first(x))).mean(dim=(2, 3))
        return self.last(F.relu(self.last(x)))


class Attention(nn.Module):
    """4 tokens of 6 numbers, 2 heads of 3."""

    def __init__(self, fused):
        super().__init__()
        self.fused, self.qkv, self.out = fused, nn.Linear(6, 18, bias=False), nn.Linear(6, 5)

    def forward(self, x):
        tokens = x.reshape(1, 4, 6)
        q, k, v = self.qkv(tokens).reshape(1, 4, 3, 2, 3).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(1, 4, 6).mean(dim=1))


def test_convolutions_and_linear_layers_by_hand() -> None:
    flops = count_flops(Small(), torch.zeros(1, 3, 6, 6))
    first = 2 * 3 * 3 * (4 * 3 * 9)  # positions, weights
    grouped = 2 * 2 * 2 * (6 * 2 * 4)
    last = 2 * 2 * 36  # twice
    assert flops == Flops({"first.weight": first, "grouped.weight": grouped, "last.weight": last}, 0, 0)
    assert flops.dense() == first + grouped + last


@pytest.mark.parametrize("fused", [False, True])
def test_attention_by_hand_whichever_kernel_runs(fused: bool) -> None:
    flops = count_flops(Attention(fused), torch.zeros(1, 1, 4, 6))
    assert flops.layers == {"qkv.weight": 2 * 4 * 18 * 6, "out.weight": 2 * 5 * 6}
    assert (
        flops.attention == 2 * (2 * 4 * 4 * 3) * 2
    )  # heads × tokens × tokens × width, for scores and for values


def test_only_weights_that_are_kept_are_multiplied() -> None:
    flops = count_flops(Small(), torch.zeros(1, 3, 6, 6))
    mask = {"first.weight": np.zeros((4, 3, 3, 3), dtype=bool), "last.weight": np.eye(6, dtype=bool)}
    mask["first.weight"][1, 2, 0] = True  # three weights, each at nine positions
    assert flops.sparse_layers(mask) == {
        "first.weight": 2 * 9 * 3,
        "grouped.weight": flops.layers["grouped.weight"],
        "last.weight": 2 * 2 * 6,
    }
    assert flops.sparse(mask) == 54 + flops.layers["grouped.weight"] + 24


def test_standardised_weights_are_not_thinned_by_a_mask() -> None:
    """Zeros in the parameter are none in what the images are multiplied with."""

    class Standardised(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight - self.weight.mean(), padding=1)

    model = nn.Sequential(Standardised(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    flops = count_flops(model, torch.zeros(1, 3, 4, 4))
    assert flops == Flops({}, 0, 2 * 16 * 54)
    assert flops.sparse({"0.weight": np.zeros((2, 3, 3, 3), dtype=bool)}) == flops.dense()


def test_the_model_and_its_modes_are_left_alone() -> None:
    model = Small().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_flops(model, torch.ones(1, 3, 6, 6))
    assert model.training and all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def counted_by_torch(model: nn.Module, size: int) -> int:
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # which torch's counter misses on the CPU
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("miniresnet", 32),
        ("minivit", 32),
        ("test_resnet", 160),
        ("test_vit", 160),
        ("tf_mobilenetv3_small_minimal_100", 65),
        pytest.param("swin_tiny_patch4_window7_224", 224, marks=pytest.mark.slow),
        pytest.param("mobilenetv3_small_050", 224, marks=pytest.mark.slow),
        pytest.param("resnet50", 224, marks=pytest.mark.slow),
        pytest.param("vit_base_patch16_224", 224, marks=pytest.mark.slow),
    ],
)
def test_as_torch_counts_dense_models(architecture: str, size: int) -> None:
    model = build(architecture)
    flops = count_flops(model, torch.zeros(1, 3, size, size))
    assert flops.dense() == counted_by_torch(model, size) > 1e6
    assert flops.other == 0 and {*flops.layers} <= {name for name, _ in model.named_parameters()}
