"""Every name of a backbone means one thing; what the table says of timm's is what timm says."""

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from obtransfer.models.known import ARCHITECTURES, BACKBONES
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.models.published import (
    TABLE_PATH,
    architecture,
    local_file,
    published_weights,
    timm_table,
    usual_preprocessing,
    view,
)
from obtransfer.registry import FORMATS
from obtransfer.settings import BackboneEntry

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("name", "expected", "batchnorm", "attention"),
    [
        ("miniresnet.supervised", "32_crop1000_bilinear", True, False),
        ("minivit.dino", "32_crop1000_bilinear", False, True),
        ("resnet50.imagenet", "224_crop875_bilinear", True, False),
        ("resnet50.imagenet_v2", "224_crop965_bilinear", True, False),
        ("resnet50.mocov2", "224_crop875_bilinear", True, False),
        ("resnet50.dino", "224_crop875_bicubic", True, False),
        ("vit_base_patch16_224.imagenet", "224_crop900_bicubic", False, True),
        ("vit_base_patch16_224.dino_official", "224_crop875_bicubic", False, True),
        ("vit_small_patch16_224.mocov3", "224_crop875_bilinear", False, True),
        ("resnet50.a1_in1k", "224_crop950_bicubic", True, False),
        ("inception_v4.tf_in1k", "299_crop875_bicubic", True, False),
        ("convnext_tiny.fb_in22k", "224_crop875_bicubic", False, False),
        ("flexivit_base.1200ep_in1k", "240_crop950_bicubic", False, True),
    ],
)
def test_what_is_known_of_a_name(name: str, expected: str, batchnorm: bool, attention: bool) -> None:
    assert view({}, name) == expected
    found = architecture({}, name)
    assert (found.has_batchnorm, found.has_attention) == (batchnorm, attention)


def test_the_views_short_side_is_timms() -> None:
    """timm resizes to the whole part of size / crop; the thousandths in a path must lead there for every tag."""
    for size, crop, *others in timm_table()["pixels"]:
        side, thousandths, _ = Preprocessing(size, crop, *others).view.replace("crop", "").split("_")
        assert int(side) * 1000 // int(thousandths) == int(size / crop)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_registered_backbones_are_complete(name: str) -> None:
    entry = published_weights({}, name)
    assert (entry.address, entry.preprocessing) == (BACKBONES[name].address, BACKBONES[name].preprocessing)
    assert entry.format in FORMATS
    model = entry.architecture.partition(".")[0]
    assert model in ARCHITECTURES or model in timm_table()["architectures"]
    assert "." not in name.partition(".")[2]


def test_a_name_of_the_configuration_takes_timms_preprocessing_where_it_says_nothing() -> None:
    mine = BackboneEntry(format="local", address="weights/mine.pth", input_size=160, mean=(0.5, 0.5, 0.5))
    entry = published_weights({"resnet50.mine": mine}, "resnet50.mine")
    usual = usual_preprocessing("resnet50")
    assert entry.preprocessing == replace(usual, input_size=160, mean=(0.5, 0.5, 0.5))
    assert (entry.format, entry.address, entry.sha256) == ("local", "weights/mine.pth", None)
    assert entry.architecture == "resnet50"


@pytest.mark.parametrize(
    ("format", "address", "file"),
    [
        ("local", "weights/mine.pth", "weights/mine.pth"),
        ("dino", "file:/a/mine.pth", "/a/mine.pth"),
        ("timm_hub", "timm/resnet50.tv_in1k", None),
        ("timm_hub", "./mine.safetensors", "mine.safetensors"),
        ("local", "https://a.example/mine.pth", None),
    ],
)
def test_a_file_on_the_disk_is_known(format: str, address: str, file: str | None) -> None:
    entry = BackboneEntry(format=format, address=address)
    found = local_file(published_weights({"resnet50.mine": entry}, "resnet50.mine"))
    assert found == (file and Path(file))


def test_shipped_files_are_none_of_yours() -> None:
    assert local_file(BACKBONES["minivit.dino"]) is None


def test_the_table_is_that_of_the_installed_timm() -> None:
    """A random sample, looked up in timm itself; a new timm needs a new table: python workflow_scripts/tools/make_timm_table.py."""
    import timm
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    table = timm_table()
    assert table["timm"] == timm.__version__
    assert TABLE_PATH.stat().st_size < 400_000
    known = [f"{model}.{tag}" for model, entry in table["architectures"].items() for tag in entry["tags"]]
    assert len(known) > 0.95 * len(timm.list_pretrained())
    for name in random.Random(0).sample(known, 200):
        config = get_pretrained_cfg(name)
        assert config is not None
        data = resolve_data_config(pretrained_cfg=config.to_dict())
        entry = published_weights({}, name)
        found = entry.preprocessing
        assert (3, found.input_size, found.input_size) == tuple(data["input_size"]), name
        assert (found.crop, found.interpolation) == (data["crop_pct"], data["interpolation"]), name
        assert (found.mean, found.std) == (tuple(data["mean"]), tuple(data["std"])), name
        assert entry.address in (config.hf_hub_id, config.url), name
        assert entry.architecture == name


def test_the_default_pixels_are_those_of_timms_default_weights() -> None:
    from timm.models import get_pretrained_cfg

    for model in ("resnet50", "vit_base_patch16_224", "convnext_tiny", "swin_tiny_patch4_window7_224"):
        config = get_pretrained_cfg(model)
        assert config is not None
        assert next(iter(timm_table()["architectures"][model]["tags"])) == config.tag
        found = usual_preprocessing(model)
        assert found is not None and found.crop == config.crop_pct


@pytest.mark.slow
def test_the_tables_kinds_are_those_of_the_built_networks() -> None:
    """By the names of the modules: another look than the one the table is made with."""
    from obtransfer.models.build import build_empty
    from torch.nn.modules.batchnorm import _BatchNorm

    sure = ["resnet50", "vgg11_bn", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_tiny"]
    sure += ["efficientnet_b0", "mixer_s32_224", "deit_tiny_patch16_224", "mobilevit_s", "levit_128s"]
    for model in sure + random.Random(0).sample(sorted(timm_table()["architectures"]), 15):
        network = build_empty(model)
        found = timm_table()["architectures"][model]
        assert found["batchnorm"] == any(isinstance(module, _BatchNorm) for module in network.modules()), (
            model
        )
        if model in sure:
            names = {type(module).__name__ for module in network.modules()}
            assert found["attention"] == any("Attention" in name for name in names), model


def test_nothing_heavy_is_imported_for_names() -> None:
    code = (
        "import sys; from obtransfer.models.published import view; view({}, 'resnet50.tv_in1k');"
        "print(*{'torch', 'numpy', 'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "workflow_scripts", check=True)
    assert done.stdout.strip() == ""
