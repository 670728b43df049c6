"""Every name of a backbone means one thing, and wrong ones are reported with those near."""

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from obtransfer.config import load
from obtransfer.dag import grid
from obtransfer.errors import ObtransferError
from obtransfer.models.known import PublishedWeights
from obtransfer.models.published import published_weights, view

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
MINE = {"format": "local", "address": "weights/mine.pth"}


def with_backbones(grid_names: list[str] | None = None, **own: Any) -> dict[str, Any]:
    """config.yaml with a grid of these backbones and entries `a__b` for `a.b`."""
    config = copy.deepcopy(DEFAULT)
    config["backbones"] = {name.replace("__", "."): entry for name, entry in own.items()}
    if grid_names is not None:
        config["grid"]["backbones"] = grid_names
    return config


def errors(config: dict[str, Any]) -> list[str]:
    with pytest.raises(ObtransferError) as caught:
        load(config)
    return str(caught.value).split("\n  ")[1:]


def test_a_configured_backbone_is_in_the_grid_like_any_other() -> None:
    config = with_backbones(
        ["resnet50.mine", "net.mine"],
        resnet50__mine=MINE,
        net__mine={**MINE, "architecture": "vit_tiny_patch16_224", "mean": [0.5, 0.5, 0.5]},
    )
    treatments: dict[str, set[str]] = {}
    for point in grid.points(load(config)):
        treatments.setdefault(point.backbone, set()).add(point.batchnorm)
    assert treatments == {"resnet50.mine": {"keep", "recalibrate"}, "net.mine": {"keep"}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50.tv_in2k", "unknown pretraining of resnet50: 'tv_in2k'; did you mean 'tv_in1k'"),
        ("resnet50.imagnet", "did you mean 'imagenet'"),
        ("resnt50.tv_in1k", "unknown backbone 'resnt50.tv_in1k'; did you mean 'resnet50.tv_in1k'"),
        ("vit_bas_patch16_224.dino", "did you mean 'vit_base_patch16_224.dino'"),
        ("resnet50", "unknown pretraining of resnet50: ''"),
        ("nothing.like_it", "unknown backbone 'nothing.like_it'; there are: miniresnet.supervised"),
    ],
)
def test_a_wrong_name_gets_near_ones(name: str, expected: str) -> None:
    (line,) = errors(with_backbones([name]))
    assert line.startswith("grid.backbones[0]: ")
    assert expected in line
    with pytest.raises(ObtransferError):
        view({}, name)


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("resnet50__imagenet", MINE, "backbones.resnet50.imagenet: weights of this name are known already"),
        ("resnet50__tv_in1k", MINE, "backbones.resnet50.tv_in1k: weights of this name are known already"),
        ("Mine", MINE, "backbones.Mine: needed a name as architecture.pretraining"),
        ("resnet50__mine", {"format": "local"}, "backbones.resnet50.mine.address: missing; needed text"),
        ("resnet50__mine", {**MINE, "format": "dinov2"}, "unknown format 'dinov2'; did you mean 'dino'?"),
        (
            "resnet50__mine",
            {**MINE, "sha256": "0676ba61"},
            "got the text '0676ba61'; needed text (SHA-256 of the file: 64 lower-case hexadecimal digits",
        ),
        (
            "resnet50__mine",
            {**MINE, "mean": [0.5]},
            "backbones.resnet50.mine.mean: got the list [0.5]; needed a list of 3 numbers",
        ),
        (
            "resnet50__mine",
            {**MINE, "std": [0, 1, 1]},
            "backbones.resnet50.mine.std[0]: got 0; needed a number, above 0",
        ),
        ("resnet50__mine", {**MINE, "interpolation": "cubic"}, "did you mean 'bicubic'?"),
        ("resnet50__mine", {**MINE, "crops": 1}, "crops: unknown key; did you mean 'crop'?"),
        (
            "resnet50__mine",
            {**MINE, "key_map": [["(", ""]]},
            "backbones.resnet50.mine.key_map[0]: got '(' and '' (missing ), unterminated subpattern at position 0); needed a",
        ),
        (
            "resnet50__mine",
            {**MINE, "key_map": [["a", r"\1"]]},
            r"key_map[0]: got 'a' and '\\1' (invalid group reference 1 at position 1); needed a regular expression",
        ),
        (
            "resnet50__mine",
            {**MINE, "key_map": [["a"]]},
            "key_map[0]: got the list ['a']; needed a list of 2 texts",
        ),
        (
            "resnet50__mine",
            {**MINE, "key_map": {"by": "name"}},
            "key_map.by: got the text 'name'; needed 'order'",
        ),
        (
            "resnet50__mine",
            {**MINE, "format": "dino", "strip": "net."},
            "strip: format dino knows its own; remove the key, or write format: local",
        ),
        (
            "resnet50__mine",
            {**MINE, "format": "timm_hub", "key_map": {"by": "order"}},
            "key_map: format timm_hub knows its own; remove the key, or write format: local",
        ),
        ("resnt50__mine", MINE, "there is no architecture 'resnt50'; did you mean 'resnet50'"),
        (
            "miniresnet__mine",
            MINE,
            "missing input_size, crop, interpolation, mean, std, which timm does not know",
        ),
        (
            "vit_base_patch16_224__mine",
            {**MINE, "input_size": 384},
            "input_size: got 384; vit_base_patch16_224 reads images of 224 pixels only",
        ),
    ],
)
def test_each_wrong_entry_is_one_line(name: str, entry: dict[str, Any], expected: str) -> None:
    lines = errors(with_backbones(**{name: entry}))
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"mirror": ""}, "weights.mirror: got the text ''; needed text that is not empty"),
        ({"offline": "yes"}, "weights.offline: got the text 'yes'; needed true or false"),
        ({"cache": "x"}, "weights.cache: unknown key; known here: mirror, offline, lock"),
    ],
)
def test_how_weights_are_fetched_is_checked(weights: dict[str, Any], expected: str) -> None:
    (line,) = errors(DEFAULT | {"weights": weights})
    assert line.startswith(expected)
    load(DEFAULT | {"weights": {"mirror": "/data", "offline": True, "lock": "weights.lock.yaml"}})


def test_wrong_types_everywhere_break_nothing() -> None:
    junk: tuple[Any, ...] = (None, 1, "x", [], {}, [[1]], {"a": {"b": 1}}, [None], {None: None}, [{}])
    for value in junk:
        for config in (
            {**DEFAULT, "backbones": value},
            {**DEFAULT, "weights": value},
            with_backbones(["resnet50.mine"], resnet50__mine=value),
            *(
                with_backbones(["resnet50.mine"], resnet50__mine={**MINE, key: value})
                for key in ("architecture", "mean", "crop", "format")
            ),
        ):
            try:
                load(config)
            except ObtransferError as error:
                assert "the configuration has" in str(error)


def test_criteria_without_attention_are_refused_for_configured_transformers() -> None:
    config = with_backbones(["net.mine"], net__mine={**MINE, "architecture": "vit_tiny_patch16_224"})
    config["grid"] |= {"criteria": ["px"], "batchnorm": ["keep"]}
    (line,) = errors(config)
    assert "px is not defined for networks with attention, and grid.backbones has net.mine" in line


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


def test_entries_and_names_are_part_of_the_weights() -> None:
    """They travel as plain values, and a backbone without them has the values of one that never had them."""
    keys = {"weights_entry": "ema", "strip": "net.", "key_map": [["^a", "b"], ["c", ""]]}
    config = with_backbones(
        ["resnet50.mine", "resnet50.ours", "resnet50.plain"],
        resnet50__mine={**MINE, **keys},
        resnet50__ours={**MINE, "key_map": {"by": "order"}},
        resnet50__plain=MINE,
    )
    own = load(config).backbones
    found = {name: published_weights(own, name) for name in own}
    mine = found["resnet50.mine"]
    assert (mine.weights_entry, mine.strip, mine.key_map) == ("ema", "net.", (("^a", "b"), ("c", "")))
    assert found["resnet50.ours"].key_map == "order"
    plain = found["resnet50.plain"]
    assert (plain.weights_entry, plain.strip, plain.key_map) == ("", "", ())
    for weights in found.values():
        assert PublishedWeights.read(json.loads(json.dumps(asdict(weights)))) == weights
