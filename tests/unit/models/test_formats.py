"""Every publisher's format becomes the backbone it holds, exactly; anything else is listed and refused."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build, classifier, num_features
from obtransfer.models.checkpoint import read_checkpoint
from obtransfer.models.formats import dino, local, mocov2, mocov3, timm_hub
from obtransfer.models.formats import torchvision as torchvision_format
from obtransfer.models.known import BACKBONES
from obtransfer.models.load import load_strictly
from obtransfer.registry import FORMATS
from torch import Tensor, nn

Official = Callable[[str, Mapping[str, Tensor]], dict[str, Any]]


@pytest.fixture(scope="module")
def networks() -> Iterator[dict[str, nn.Module]]:
    """Built once: the weights are overwritten by each test."""
    with torch.device("meta"):
        made = {name: build(name) for name in ("resnet50", "vit_base_patch16_224")}
    yield {name: model.to_empty(device="cpu") for name, model in made.items()}


def check(network: nn.Module, state: Mapping[str, Tensor], backbone: Mapping[str, Tensor]) -> None:
    """The state fits strictly, and every tensor is the publisher's, in float32."""
    load_strictly(network, state, "the file")
    assert set(state) == set(backbone)
    for name, value in network.state_dict().items():
        assert value.dtype == (torch.float32 if value.is_floating_point() else torch.int64)
        assert torch.equal(value, backbone[name].to(value.dtype)), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "kind", "model", "fixture"),
    [
        (mocov2, "mocov2", "resnet50", "resnet50"),
        (dino, "dino", "resnet50", "resnet50"),
        (torchvision_format, "torchvision", "resnet50", "resnet50"),
        (local, "timm_resnet", "resnet50", "resnet50"),
        (dino, "dino", "vit_base_patch16_224", "vit_base"),
        (mocov3, "mocov3", "vit_base_patch16_224", "vit_base"),
        (local, "timm_vit", "vit_base_patch16_224", "vit_base"),
    ],
)
@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "old"])
def test_the_real_architectures_in_the_official_formats(
    source: Any,
    kind: str,
    model: str,
    fixture: str,
    old_format: bool,
    official: Official,
    networks: dict[str, nn.Module],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    backbone = request.getfixturevalue(fixture)
    torch.save(
        official(kind, backbone), tmp_path / "file.download", _use_new_zipfile_serialization=not old_format
    )
    state = source.convert(read_checkpoint(tmp_path / "file.download", "here"), model)
    check(networks[model], state, backbone)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize(
    ("tag", "kind", "fixture"),
    [
        ("resnet50.tv_in1k", "timm_resnet", "resnet50"),
        ("vit_base_patch16_224.augreg_in1k", "timm_vit", "vit_base"),
        ("vit_base_patch16_224.dino", "dino", "vit_base"),
    ],
)
def test_timm_loads_its_own_files(
    tag: str,
    kind: str,
    fixture: str,
    form: str,
    official: Official,
    networks: dict[str, nn.Module],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    from safetensors.torch import save_file

    backbone = request.getfixturevalue(fixture)
    content = {name: value.contiguous() for name, value in official(kind, backbone).items()}
    if form == "bin":
        torch.save(content, tmp_path / "file.download")
    else:
        save_file(content, tmp_path / "file.download", metadata={"format": "pt"})
    state = timm_hub.convert(read_checkpoint(tmp_path / "file.download", "here"), tag)
    check(networks[tag.partition(".")[0]], state, backbone)


def test_files_without_batchnorms_counter_are_completed() -> None:
    """torchvision's oldest files are from before there was one."""
    with torch.device("cpu"):
        model = torchvision.models.resnet18()
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("tracked")}
    converted = torchvision_format.convert(state, "resnet18")
    network = build("resnet18")
    load_strictly(network, converted, "the file")
    assert int(network.bn1.num_batches_tracked) == 0


def test_torchvisions_resnet_is_timms() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    network = build("resnet18")
    load_strictly(network, torchvision_format.convert(theirs.state_dict(), "resnet18"), "the file")
    theirs.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network(images), theirs(images))


@pytest.mark.parametrize("names", ["new", "old"])
def test_torchvisions_transformer_is_timms_under_other_names(names: str) -> None:
    """Small of its kind; the names of the layers are those of vit_b_16."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    theirs = torchvision.models.VisionTransformer(32, 8, 2, 4, 48, 96, num_classes=5).eval()
    nn.init.normal_(theirs.conv_proj.bias)
    state = dict(theirs.state_dict())
    if names == "old":
        renamed = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
        for new, old in renamed.items():
            state = {name.replace(new, old): value for name, value in state.items()}
    network = VisionTransformer(32, 8, embed_dim=48, depth=2, num_heads=4, mlp_ratio=2, num_classes=0).eval()
    load_strictly(network, torchvision_format.convert(state, "vit_small"), "the file")
    theirs.heads = nn.Identity()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(images), theirs(images))


def test_the_classes_of_torchvisions_large_transformer_have_the_names_that_are_converted() -> None:
    with torch.device("meta"):
        theirs, network = torchvision.models.vit_b_16(), build("vit_base_patch16_224")
    converted = torchvision_format.convert(theirs.state_dict(), "vit_base_patch16_224")
    own = {name: value.shape for name, value in network.state_dict().items()}
    assert {name: value.shape for name, value in converted.items()} == own


def test_mocov3s_small_transformer_has_twelve_heads() -> None:
    """Its tensors have the shapes of timm's with six: only the number tells them apart."""
    with torch.device("meta"):
        ours, timms = build("vit_small_patch16_224_h12"), build("vit_small_patch16_224")
    assert {n: v.shape for n, v in ours.state_dict().items()} == {
        n: v.shape for n, v in timms.state_dict().items()
    }
    heads = [block.attn.num_heads for model in (ours, timms) for block in model.blocks]
    assert heads == [12] * 12 + [6] * 12


STATE = {"bn.running_mean": torch.zeros(2), "w": torch.ones(2, dtype=torch.float16)}


def test_the_classifier_of_a_file_of_yours_is_dropped() -> None:
    found = local.convert(STATE | {"fc.weight": torch.ones(7, 2)}, "resnet50")
    assert set(found) == {"bn.running_mean", "bn.num_batches_tracked", "w"}
    assert found["w"].dtype == torch.float32


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("resnet50", ("fc",)),
        ("vit_base_patch16_224.dino", ("head",)),
        ("convnext_tiny", ("head.fc",)),
        ("deit_base_distilled_patch16_224", ("head", "head_dist")),
        ("miniresnet", ("fc",)),
        ("minivit", ("head",)),
    ],
)
def test_the_classifier_is_what_timm_calls_so(model: str, names: tuple[str, ...]) -> None:
    assert classifier(model) == names


def test_features_may_be_longer_than_timms_number_says() -> None:
    model = build("mobilenetv3_small_050")
    assert tuple(model(torch.zeros(1, 3, 64, 64)).shape) == (1, num_features(model))


@pytest.mark.parametrize("source", ["mocov2", "mocov3"])
def test_what_is_neither_expected_nor_dropped_is_listed_in_one_error(source: str) -> None:
    module = import_module(f"obtransfer.models.formats.{source}")
    network = nn.Sequential(nn.Linear(2, 2))
    state = {
        f"{module.ENCODER}0.weight": torch.zeros(3, 2),
        f"{module.ENCODER}1.weight": torch.zeros(1),
        "module.surprise": torch.zeros(1),
        f"{module.DROPPED[0]}0.weight": torch.zeros(1),
    }
    with pytest.raises(ObtransferError) as error:
        load_strictly(network, module.convert({"state_dict": state}, "resnet50"), "a checkpoint")
    for part in (
        "missing 0.bias",
        "unexpected 1.weight",
        "unexpected module.surprise",
        "0.weight has shape [3, 2] instead of [2, 2]",
    ):
        assert part in str(error.value)
    assert module.DROPPED[0] not in str(error.value)


@pytest.mark.slow
def test_every_dropped_name_is_in_the_official_file(
    official: Official, resnet50: dict[str, Tensor], vit_base: dict[str, Tensor]
) -> None:
    for module, kind, backbone in ((mocov2, "mocov2", resnet50), (mocov3, "mocov3", vit_base)):
        names = official(kind, backbone)["state_dict"]
        unused = [start for start in module.DROPPED if not any(name.startswith(start) for name in names)]
        assert unused == (["module.base_encoder.fc."] if kind == "mocov3" else [])


@pytest.mark.parametrize(
    ("source", "checkpoint", "told"),
    [
        ("mocov2", {"model": {"w": torch.zeros(1)}}, "needed the weights under the key 'state_dict'"),
        ("mocov3", {"state_dict": {}}, "needed the weights under the key 'state_dict'"),
        (
            "dino",
            {"student": {"w": torch.zeros(1)}, "epoch": 3},
            "needed nothing but tensors; got the keys student, epoch",
        ),
        ("torchvision", {}, "nothing in it"),
        ("local", {"epoch": 3, "arch": "x"}, "needed nothing but tensors; got the keys epoch, arch"),
        ("timm_hub", {"epoch": 3}, "needed nothing but tensors"),
    ],
)
def test_a_file_of_another_kind_is_told(source: str, checkpoint: dict[str, Any], told: str) -> None:
    with pytest.raises(ObtransferError, match=told):
        import_module(f"obtransfer.models.formats.{source}").convert(checkpoint, "resnet50.tv_in1k")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), "layer1.0.conv1.weight"),
        (lambda state: state.update(surprise=torch.zeros(1)), "surprise"),
        (lambda state: state.update({"conv1.weight": torch.zeros(1)}), "conv1.weight"),
    ],
)
def test_timms_own_loading_is_strict(change: Callable[[dict[str, Tensor]], Any], told: str) -> None:
    import timm

    state = dict(timm.create_model("test_resnet").state_dict())
    change(state)
    with pytest.raises(ObtransferError, match=told):
        timm_hub.convert(state, "test_resnet.r160_in1k")


def test_where_timm_is_lenient_missing_tensors_are_an_error_too() -> None:
    import timm

    with torch.device("cpu"):
        model = timm.create_model("dla46x_c")
    state = dict(model.state_dict())
    removed = next(name for name in state if name.endswith("conv1.weight"))
    del state[removed]
    with pytest.raises(ObtransferError, match=removed):
        timm_hub.convert(state, "dla46x_c.in1k")


def test_addresses_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example/")
    found = timm_hub.FORMAT.files("timm/resnet50.tv_in1k")
    assert list(found.items()) == [
        (
            "hub:timm/resnet50.tv_in1k/model.safetensors",
            "http://hub.example/timm/resnet50.tv_in1k/resolve/main/model.safetensors",
        ),
        (
            "hub:timm/resnet50.tv_in1k/pytorch_model.bin",
            "http://hub.example/timm/resnet50.tv_in1k/resolve/main/pytorch_model.bin",
        ),
    ]
    pinned = timm_hub.FORMAT.files("me/net@v2")
    assert (
        pinned["hub:me/net@v2/model.safetensors"] == "http://hub.example/me/net/resolve/v2/model.safetensors"
    )


def test_addresses_of_torchvision() -> None:
    (address,) = torchvision_format.FORMAT.files("ResNet50_Weights.IMAGENET1K_V1")
    assert address.endswith("/resnet50-0676ba61.pth")
    with pytest.raises(ObtransferError, match=r"no weights called 'ResNet50_Weights\.V9'"):
        torchvision_format.FORMAT.files("ResNet50_Weights.V9")


@pytest.mark.parametrize("name", FORMATS)
def test_a_path_and_a_url_are_the_same_for_every_format(name: str) -> None:
    """A file on the disk is named without its folder."""
    for path in ("./weights/mine.pth", "/a/mine.pth", "file:/a/mine.pth", "../mine.pth", "file:mine.pth"):
        assert FORMATS[name].files(path) == {"mine.pth": path}
        assert FORMATS[name].path(path) == path
    assert FORMATS[name].files("https://x/y") == {"https://x/y": "https://x/y"}
    assert FORMATS[name].path("https://x/y") == ""


def test_without_names_of_its_own_a_formats_addresses_are_paths() -> None:
    assert local.FORMAT.files("weights/mine.pth") == {"mine.pth": "weights/mine.pth"}
    assert timm_hub.FORMAT.path("weights/mine.pth") == ""


def test_shipped_files_are_found_from_every_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = BACKBONES["minivit.dino"].address
    ((name, path),) = FORMATS["mini"].files(address).items()
    assert name == f"file:{address}" and Path(path).is_file()
