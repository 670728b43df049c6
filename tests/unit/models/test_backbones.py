"""Building, naming prunable weights, converting and loading strictly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from obtransfer.artifacts import write_tensors
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build
from obtransfer.models.formats.mini import convert
from obtransfer.models.load import load_backbone, load_strictly
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.models.prunable import prunable_parameters
from torch import nn

METADATA = {
    "backbone": "net.mine", "prunable": ["conv1.weight"], "input_size": 32, "crop": 0.9, "interpolation": "bicubic",
    "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
}  # fmt: skip
RESNET = ["conv1.weight"] + [
    f"layer{stage}.0.{name}.weight" for stage in (1, 2, 3, 4) for name in ("conv1", "conv2", "downsample.0")
]
VIT = ["patch_embed.proj.weight"] + [
    f"blocks.{block}.{name}.weight"
    for block in range(5)
    for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
]


@pytest.mark.parametrize(("architecture", "features"), [("miniresnet", 128), ("minivit", 96)])
def test_features_and_size(architecture: str, features: int) -> None:
    model = build(architecture)
    assert not model.training
    assert model.num_features == features
    assert tuple(model(torch.zeros(2, 3, 32, 32)).shape) == (2, features)
    sizes = dict(model.named_parameters())
    assert 450_000 < sum(sizes[name].numel() for name in prunable_parameters(model)) < 600_000


@pytest.mark.parametrize(("architecture", "names"), [("miniresnet", RESNET), ("minivit", VIT)])
def test_prunable_weights_are_exactly_convolutions_and_linear_layers(
    architecture: str, names: list[str]
) -> None:
    assert prunable_parameters(build(architecture)) == names


def test_prunable_goes_by_type_not_by_name_or_shape() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(3, 3))
            self.norm = nn.Linear(3, 3)  # called norm, but linear
            self.linear = nn.LayerNorm(3)  # called linear, but a norm
            self.embedding = nn.Embedding(3, 3)
            self.again = self.norm

    assert prunable_parameters(Odd()) == ["norm.weight"]


def test_unknown_architecture_is_named_with_near_ones() -> None:
    with pytest.raises(ObtransferError, match=r"miniresnet, minivit.*got 'resnet5o'"):
        build("resnet5o")


def test_convert_keeps_values_and_counters() -> None:
    state = {"weight": torch.tensor([0.5, -2.0], dtype=torch.float16), "count": torch.tensor(3)}
    converted = convert(state)
    assert converted["weight"].dtype == torch.float32
    assert converted["weight"].tolist() == [0.5, -2.0]
    assert converted["count"].dtype == torch.int64


def test_strict_loading_lists_every_difference_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = dict(model.state_dict())
    del state["1.running_mean"], state["0.bias"]
    state |= {"extra": torch.zeros(1), "0.weight": torch.ones(3, 2)}
    with pytest.raises(ObtransferError) as error:
        load_strictly(model, state, "some file")
    for part in (
        "some file",
        "missing 1.running_mean",
        "missing 0.bias",
        "unexpected extra",
        "[3, 2] instead of [2, 2]",
    ):
        assert part in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_backbone_artefact_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("miniresnet")
    with torch.no_grad():
        model.bn1.running_mean.add_(1)
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    write_tensors(
        tmp_path / "backbone", tensors, kind="backbone", metadata={**METADATA, "architecture": "miniresnet"}
    )
    backbone = load_backbone(tmp_path / "backbone")
    loaded = backbone.model
    assert not loaded.training
    assert backbone.preprocessing == Preprocessing(32, 0.9, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert backbone.prunable == ("conv1.weight",) and backbone.name == "net.mine"
    assert backbone.metadata == {**METADATA, "architecture": "miniresnet"}
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    for name, value in loaded.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), tensors[name])
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_efficientnet"])
def test_loading_without_making_random_values_first_changes_nothing(
    tmp_path: Path, architecture: str
) -> None:
    torch.manual_seed(0)
    model = build(architecture)
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    write_tensors(
        tmp_path / "file", tensors, kind="backbone", metadata={**METADATA, "architecture": architecture}
    )
    loaded = load_backbone(tmp_path / "file").model
    assert not any(value.is_meta for value in (*loaded.parameters(), *loaded.buffers()))
    assert not any(module.training for module in loaded.modules())
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(loaded(images), model(images))
    before = next(loaded.parameters()).clone()
    with torch.no_grad():  # the tensors are the network's own: they can be changed, and the file is not
        next(loaded.parameters()).add_(1)
    assert torch.equal(next(load_backbone(tmp_path / "file").model.parameters()), before)


def test_what_no_file_holds_is_computed(tmp_path: Path) -> None:
    """LeViT indexes its attention biases by a buffer that is in no state_dict."""
    torch.manual_seed(0)
    model = build("levit_128s")
    unsaved = {name for name, _ in model.named_buffers()} - set(model.state_dict())
    assert unsaved
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    write_tensors(
        tmp_path / "file", tensors, kind="backbone", metadata={**METADATA, "architecture": "levit_128s"}
    )
    loaded = load_backbone(tmp_path / "file").model
    images = torch.randn(1, 3, 224, 224)
    assert torch.equal(loaded(images), model(images))
