"""Every name of a backbone means one thing, and wrong ones are told with those near."""

import copy
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from obtransfer.config.backbones import TABLE_PATH, architecture, backbone, default_pixels, timm_table, view
from obtransfer.config.check import check
from obtransfer.dag import grid
from obtransfer.errors import ObtransferError
from obtransfer.registry import ARCHITECTURES, BACKBONES, SOURCES

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
MINE = {"source": "local", "address": "weights/mine.pth"}


def with_backbones(grid_names: list[str] | None = None, **own: Any) -> dict[str, Any]:
    """config.yaml with a grid of these backbones and entries `a__b` for `a.b`."""
    config = copy.deepcopy(DEFAULT)
    config["backbones"] = {name.replace("__", "."): entry for name, entry in own.items()}
    if grid_names is not None:
        config["grid"]["backbones"] = grid_names
    return config


def errors(config: dict[str, Any]) -> list[str]:
    with pytest.raises(ObtransferError) as caught:
        check(config)
    return str(caught.value).split("\n  ")[1:]


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
    for values in timm_table()["pixels"]:
        entry = {"source": "local", "address": "x", **dict(zip(("input_size", "crop"), values, strict=False))}
        own = {"resnet50.mine": {**entry, "interpolation": values[2]}}
        size, crop, _ = view({"backbones": own}, "resnet50.mine").replace("crop", "").split("_")
        assert int(size) * 1000 // int(crop) == int(values[0] / values[1]), values


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_registered_backbones_are_complete(name: str) -> None:
    entry = backbone({}, name)
    assert entry is BACKBONES[name]
    assert entry.source in SOURCES.values()
    model = (entry.architecture or name).partition(".")[0]
    assert model in ARCHITECTURES or model in timm_table()["architectures"]
    assert "." not in name.partition(".")[2]


def test_a_name_of_the_configuration_takes_timms_pixels_where_it_says_nothing() -> None:
    config = {"backbones": {"resnet50.mine": {**MINE, "input_size": 160, "mean": [0.5, 0.5, 0.5]}}}
    entry = backbone(config, "resnet50.mine")
    usual = default_pixels("resnet50")
    assert (entry.input_size, entry.mean) == (160, (0.5, 0.5, 0.5))
    assert (entry.crop, entry.interpolation, entry.std) == (
        usual["crop"],
        usual["interpolation"],
        usual["std"],
    )
    assert (entry.source, entry.address, entry.sha256) == (
        "obtransfer.models.local",
        "weights/mine.pth",
        None,
    )


def test_a_configured_backbone_is_in_the_grid_like_any_other() -> None:
    config = with_backbones(
        ["resnet50.mine", "net.mine"],
        resnet50__mine=MINE,
        net__mine={**MINE, "architecture": "vit_tiny_patch16_224", "mean": [0.5, 0.5, 0.5]},
    )
    check(config)
    treatments = {point.backbone: set() for point in grid.points(config)}
    for point in grid.points(config):
        treatments[point.backbone].add(point.batchnorm)
    assert treatments == {"resnet50.mine": {"keep", "recalibrate"}, "net.mine": {"keep"}}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet50.tv_in2k", "unknown pretraining of resnet50: 'tv_in2k'; did you mean 'tv_in1k'"),
        ("resnet50.imagnet", "did you mean 'imagenet'"),
        ("resnt50.tv_in1k", "unknown backbone 'resnt50.tv_in1k'; did you mean 'resnet50.tv_in1k'"),
        ("vit_bas_patch16_224.dino", "did you mean 'vit_base_patch16_224.dino'"),
        ("resnet50", "unknown pretraining of resnet50: ''"),
        ("nothing.like_it", "unknown backbone 'nothing.like_it'; there are: miniresnet.supervised"),
    ],
)
def test_a_wrong_name_gets_near_ones(name: str, told: str) -> None:
    (line,) = errors(with_backbones([name]))
    assert line.startswith("grid.backbones[0]: ")
    assert told in line
    with pytest.raises(ObtransferError):
        view({}, name)


@pytest.mark.parametrize(
    ("name", "entry", "told"),
    [
        ("resnet50__imagenet", MINE, "backbones.resnet50.imagenet: weights of this name are known already"),
        ("resnet50__tv_in1k", MINE, "backbones.resnet50.tv_in1k: weights of this name are known already"),
        ("Mine", MINE, "backbones.Mine: needed a name as architecture.pretraining"),
        ("resnet50__mine", {"source": "local"}, "backbones.resnet50.mine.address: missing; needed text"),
        ("resnet50__mine", {**MINE, "source": "dinov2"}, "unknown source 'dinov2'; did you mean 'dino'?"),
        ("resnet50__mine", {**MINE, "sha256": "0676ba61"}, "needed 64 hexadecimal digits"),
        ("resnet50__mine", {**MINE, "mean": [0.5]}, "backbones.resnet50.mine.mean: got 1 numbers; needed 3"),
        ("resnet50__mine", {**MINE, "std": [0, 1, 1]}, "backbones.resnet50.mine.std[0]: got 0; needed"),
        ("resnet50__mine", {**MINE, "interpolation": "cubic"}, "did you mean 'bicubic'?"),
        ("resnet50__mine", {**MINE, "crops": 1}, "crops: unknown key; did you mean 'crop'?"),
        ("resnt50__mine", MINE, "there is no architecture 'resnt50'; did you mean 'resnet50'"),
        (
            "miniresnet__mine",
            MINE,
            "missing input_size, crop, interpolation, mean, std, which timm does not tell",
        ),
        (
            "vit_base_patch16_224__mine",
            {**MINE, "input_size": 384},
            "input_size: got 384; vit_base_patch16_224 only takes images of 224 pixels",
        ),
    ],
)
def test_a_wrong_entry_is_told(name: str, entry: dict[str, Any], told: str) -> None:
    lines = errors(with_backbones(**{name: entry}))
    assert len(lines) == 1
    assert told in lines[0]


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"mirror": ""}, "weights.mirror: got the text ''; needed at least 1"),
        ({"offline": "yes"}, "weights.offline: got the text 'yes'; needed true or false"),
        ({"cache": "x"}, "weights.cache: unknown key; known here: mirror, offline, lock"),
    ],
)
def test_how_weights_are_fetched_is_checked(weights: dict[str, Any], told: str) -> None:
    (line,) = errors(DEFAULT | {"weights": weights})
    assert line.startswith(told)
    check(DEFAULT | {"weights": {"mirror": "/data", "offline": True, "lock": "weights.lock.yaml"}})


def test_wrong_types_everywhere_break_nothing() -> None:
    junk: tuple[Any, ...] = (None, 1, "x", [], {}, [[1]], {"a": {"b": 1}}, [None], {None: None}, [{}])
    for value in junk:
        for config in (
            {**DEFAULT, "backbones": value},
            {**DEFAULT, "weights": value},
            with_backbones(["resnet50.mine"], resnet50__mine=value),
            *(
                with_backbones(["resnet50.mine"], resnet50__mine={**MINE, key: value})
                for key in ("architecture", "mean", "crop", "source")
            ),
        ):
            try:
                check(config)
            except ObtransferError as error:
                assert "the configuration has" in str(error)


def test_criteria_without_attention_are_refused_for_configured_transformers() -> None:
    config = with_backbones(["net.mine"], net__mine={**MINE, "architecture": "vit_tiny_patch16_224"})
    config["grid"] |= {"criteria": ["px"], "batchnorm": ["keep"]}
    (line,) = errors(config)
    assert "px is not defined for networks with attention, and grid.backbones has net.mine" in line


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
        entry = backbone({}, name)
        assert (3, entry.input_size, entry.input_size) == tuple(data["input_size"]), name
        assert (entry.crop, entry.interpolation) == (data["crop_pct"], data["interpolation"]), name
        assert (entry.mean, entry.std) == (tuple(data["mean"]), tuple(data["std"])), name
        assert entry.address in (config.hf_hub_id, config.url), name
        assert entry.architecture == name


def test_the_default_pixels_are_those_of_timms_default_weights() -> None:
    from timm.models import get_pretrained_cfg

    for model in ("resnet50", "vit_base_patch16_224", "convnext_tiny", "swin_tiny_patch4_window7_224"):
        config = get_pretrained_cfg(model)
        assert config is not None
        assert next(iter(timm_table()["architectures"][model]["tags"])) == config.tag
        assert default_pixels(model)["crop"] == config.crop_pct


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
        "import sys; from obtransfer.config.backbones import view; view({}, 'resnet50.tv_in1k');"
        "print(*{'torch', 'numpy', 'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "workflow_scripts", check=True)
    assert done.stdout.strip() == ""


def test_the_papers_fine_tuning_makes_the_authors_steps() -> None:
    """Their loss is the mean over batch and classes, without ½: theirs and ours, in plain torch, from the same start."""
    import torch

    ours = yaml.safe_load((ROOT / "resources/configs/paper.yaml").read_text(encoding="utf-8"))["finetune"]
    assert (ours["epochs"], ours["batch_size"], ours["milestones"]) == (90, 64, [30, 60, 80])
    torch.manual_seed(0)
    inputs, labels = torch.randn(64, 20, dtype=torch.float64), torch.randint(0, 10, (64,))
    start = 3 * torch.randn(10, 20, dtype=torch.float64)
    ends = []
    for rate, decay, authors in ((5e-5, 1e-4, True), (ours["learning_rate"], ours["weight_decay"], False)):
        weight = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([weight], lr=rate, momentum=ours["momentum"], weight_decay=decay)
        for _ in range(20):
            residual = inputs @ weight.T - torch.eye(10, dtype=torch.float64)[labels]
            loss = residual.square().mean() if authors else 0.5 * residual.square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends.append(weight.detach())
    assert not torch.allclose(ends[0], start, atol=1e-6)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-14)
