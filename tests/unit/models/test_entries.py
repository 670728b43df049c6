"""A training's checkpoint becomes the network in it, whatever it is wrapped in and called; nothing is taken in doubt."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from obtransfer.errors import ObtransferError
from obtransfer.models.build import build
from obtransfer.models.checkpoint import Unordered, read_checkpoint
from obtransfer.models.known import PublishedWeights
from obtransfer.models.load import load_strictly
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.registry import FORMATS
from torch import Tensor, nn

State = dict[str, Tensor]
WEIGHTS = PublishedWeights(
    "local", "x.pth", Preprocessing(32, 1, "bilinear", (0, 0, 0), (1, 1, 1)), "test_resnet"
)


def read(checkpoint: Mapping[str, Any], weights: PublishedWeights = WEIGHTS) -> tuple[State, dict[str, str]]:
    """The backbone's tensors as loaded, and what is recorded."""
    publisher = FORMATS[weights.format]
    taken = publisher.take(checkpoint, weights, "here")
    model = build(weights.architecture)
    load_strictly(model, publisher.convert(taken.checkpoint, weights.architecture), "here")
    return dict(model.state_dict()), taken.how


def refused(checkpoint: Mapping[str, Any], weights: PublishedWeights = WEIGHTS) -> str:
    with pytest.raises(ObtransferError) as error:
        read(checkpoint, weights)
    assert len(str(error.value)) < 500
    return str(error.value)


def made(seed: int, architecture: str = "test_resnet") -> State:
    torch.manual_seed(seed)
    with torch.device("cpu"):
        return dict(timm.create_model(architecture, num_classes=7).state_dict())


def check(found: State, wanted: State) -> None:
    """All of the backbone's tensors are those of the file: every name of the network was there."""
    assert found
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


@pytest.fixture
def raw() -> State:
    return made(0)


@pytest.fixture
def average() -> State:
    return made(1)


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


PREFIXES = (
    *("", "module.", "model.", "net.", "backbone.", "encoder.", "_orig_mod.", "module._orig_mod."),
    *(
        "_orig_mod.module.",
        "module.module.",
        "model.model.backbone.",
        "teacher.backbone.",
        "any.word.at.all.",
    ),
)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "model_state_dict", "net", "ema", "teacher"])
def test_any_prefix_in_any_wrapper_is_removed(wrapper: str, prefix: str, raw: State) -> None:
    state = OrderedDict(under(prefix, raw))
    found, how = read({wrapper: state, "epoch": 3, "best": 0.7} if wrapper else state)
    check(found, raw)
    wanted = {"entry": wrapper, "prefix": prefix.replace("_orig_mod.", "")}
    assert how == {key: value for key, value in wanted.items() if value}


def test_wrappers_may_be_nested(raw: State) -> None:
    found, how = read({"model": {"state_dict": under("module.", raw)}, "epoch": 3})
    check(found, raw)
    assert how == {"entry": "model.state_dict", "prefix": "module."}


def test_compiled_parts_and_shards_are_named_like_the_whole(raw: State) -> None:
    inner = {
        re.sub(r"^(layer\d)\.", r"\1._orig_mod._fsdp_wrapped_module.", name): v for name, v in raw.items()
    }
    assert inner.keys() != raw.keys()
    check(read(inner)[0], raw)


def test_a_projection_head_beside_the_network_is_left_out_and_told(
    raw: State, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning's file of a module with a backbone, a head and a metric."""
    head = {"head.mlp.0.weight": torch.ones(2), "metric.total": torch.tensor(3)}
    found, how = read({"state_dict": under("backbone.", raw) | head, "pytorch-lightning_version": "2.0"})
    check(found, raw)
    assert how == {"entry": "state_dict", "prefix": "backbone."}
    assert (
        "2 tensors beside backbone. are left out: head.mlp.0.weight, metric.total" in capsys.readouterr().out
    )


def test_the_average_of_swa_is_read(raw: State) -> None:
    network = nn.Sequential(OrderedDict(inner=build("test_resnet")))
    found, how = read(torch.optim.swa_utils.AveragedModel(network).state_dict())
    check(found, dict(network.inner.state_dict()))
    assert how == {"prefix": "module.inner."}


def test_dinos_full_checkpoint_gives_the_teacher_or_the_student(raw: State, average: State) -> None:
    head = {"mlp.0.weight": torch.ones(2, 2), "last_layer.weight_v": torch.ones(2)}
    checkpoint = {
        "student": under("module.", under("backbone.", raw) | under("head.", head)),
        "teacher": under("backbone.", average) | under("head.", head),
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 3,
        "dino_loss": {"center": torch.zeros(1, 2)},
    }
    found, how = read(checkpoint)
    check(found, average)
    assert how == {"entry": "teacher", "prefix": "backbone."}
    found, how = read(checkpoint, replace(WEIGHTS, weights_entry="student"))
    check(found, raw)
    assert how == {"entry": "student", "prefix": "module.backbone."}


@pytest.mark.parametrize("format", ["local", "timm_hub"])
def test_of_raw_and_averaged_weights_one_is_taken_as_timm_does(
    format: str, raw: State, average: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (
        WEIGHTS
        if format == "local"
        else replace(WEIGHTS, format=format, architecture="test_resnet.r160_in1k")
    )
    if format == "timm_hub":
        raw, average = (
            {**state, "fc.weight": torch.ones(1000, state["fc.weight"].shape[1]), "fc.bias": torch.ones(1000)}
            for state in (raw, average)
        )
    both = {"state_dict": raw, "state_dict_ema": average, "epoch": 3}
    torch.save(both, tmp_path / "x.pth")
    timms = timm.models.load_state_dict(str(tmp_path / "x.pth"))
    check({name: value for name, value in timms.items()}, average)
    found, how = read(both, weights)
    check(found, average)
    assert how == {"entry": "state_dict_ema"}
    log = "the weights are its entry state_dict_ema; also there: state_dict; weights_entry takes another"
    assert log in capsys.readouterr().out
    found, how = read(both, replace(weights, weights_entry="state_dict"))
    check(found, raw)
    assert how == {"entry": "state_dict"}
    check(read({"state_dict_ema": average, "epoch": 3}, weights)[0], average)


def test_an_entry_of_any_name_can_be_asked_for(raw: State, average: State) -> None:
    both = {"state_dict": raw, "callbacks": {"mean": {"shadow": average, "decay": 0.9}}, "a.b": average}
    for entry in ("callbacks.mean.shadow", "a.b"):
        found, how = read(both, replace(WEIGHTS, weights_entry=entry))
        check(found, average)
        assert how == {"entry": entry}
    told = refused(both, replace(WEIGHTS, weights_entry="ema"))
    assert (
        "needed tensors in the entry 'ema'; got a file with the entries state_dict; correct weights_entry"
        in told
    )


def test_two_networks_in_one_entry_are_not_guessed(raw: State, average: State) -> None:
    both = under("student.net.", raw) | under("teacher.net.", average)
    told = refused({"state_dict": both})
    assert "got several, under 'student.net.', 'teacher.net.'" in told and "strip: student.net." in told
    for strip in ("teacher.", "teacher.net."):
        found, how = read({"state_dict": both}, replace(WEIGHTS, strip=strip))
        check(found, average)
        assert how == {"entry": "state_dict", "prefix": "teacher.net."}
    assert "needed names that begin with ema.; got student.net." in refused(
        both, replace(WEIGHTS, strip="ema.")
    )


def test_numpys_arrays_are_tensors(raw: State) -> None:
    check(read({name: value.numpy() for name, value in raw.items()})[0], raw)


def test_names_of_another_library_are_told_shortly(raw: State) -> None:
    other = {
        f"net.part_{number}.kernel_with_a_rather_long_name_{'x' * 90}": value
        for number, value in enumerate(raw.values())
    }
    told = refused(other)
    assert f"got {len(raw)} others (all begin with net.): net.part_0.kernel" in told
    assert "such as conv1.0.weight" in told and "write key_map" in told


def test_a_file_of_a_larger_network_is_refused_shortly(raw: State) -> None:
    more = {f"layer1.{number}.conv.weight_{'x' * 20}": torch.ones(1) for number in range(70)}
    told = refused({"model": under("module.", raw | more)})
    assert "unexpected layer1.0.conv" in told and "68 more unexpected" in told


def test_half_of_a_network_is_refused(raw: State) -> None:
    half = {name: value for name, value in raw.items() if not name.startswith("layer4.")}
    assert "missing layer4." in refused(under("module.", half))


def published(state: State) -> State:
    """EfficientNet-Lite0's tensors in their publisher's names and order: those of the package efficientnet-pytorch."""
    parts = {"conv_pw": "expand_conv", "conv_dw": "depthwise_conv", "conv_pwl": "project_conv"}
    norms = {"expand_conv": "bn0", "depthwise_conv": "bn1", "project_conv": "bn2"}
    names, block, last, number = {}, "", "", -1
    for name in state:
        inner = re.fullmatch(r"(blocks\.\d+\.\d+)\.(\w+)\.(\w+)", name)
        if inner is None:
            top = {"bn1": "bn0", "bn2": "bn1", "conv_head": "conv_head", "classifier": "fc"}
            part, _, kind = name.partition(".")
            names[name] = f"_{top.get(part, part)}.{kind}"
            continue
        number, block = (number, block) if inner[1] == block else (number + 1, inner[1])
        if not inner[2].startswith(
            "bn"
        ):  # the first block has no expansion, so timm's numbers differ by block
            first = f"{inner[1]}.conv_pwl.weight" not in state
            last = {"conv_pw": "project_conv"}.get(inner[2], parts[inner[2]]) if first else parts[inner[2]]
        part = norms[last] if inner[2].startswith("bn") else last
        names[name] = f"_blocks.{number}._{part}.{inner[3]}"
    return {names[name]: value for name, value in state.items()}


LITE = replace(WEIGHTS, architecture="tf_efficientnet_lite0")
PAIRS = (
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
    (r"^_fc\..*", ""),
    # the blocks by stage: the first has no expansion
    (r"^_blocks\.0\._depthwise_conv\.", "blocks.0.0.conv_dw."),
    (r"^_blocks\.0\._bn1\.", "blocks.0.0.bn1."),
    (r"^_blocks\.0\._project_conv\.", "blocks.0.0.conv_pw."),
    (r"^_blocks\.0\._bn2\.", "blocks.0.0.bn2."),
    *(
        (rf"^_blocks\.{n}\.", f"blocks.{stage}.{inner}.")
        for n, (stage, inner) in enumerate(
            (
                (1, 0),
                (1, 1),
                (2, 0),
                (2, 1),
                (3, 0),
                (3, 1),
                (3, 2),
                (4, 0),
                (4, 1),
                (4, 2),
                (5, 0),
                (5, 1),
                (5, 2),
                (5, 3),
                (6, 0),
            ),
            start=1,
        )
    ),
    (r"\._expand_conv\.", ".conv_pw."),
    (r"\._depthwise_conv\.", ".conv_dw."),
    (r"\._project_conv\.", ".conv_pwl."),
    (r"\._bn2\.", ".bn3."),
    (r"\._bn1\.", ".bn2."),
    (r"\._bn0\.", ".bn1."),
)


@pytest.fixture(scope="module")
def lite() -> State:
    """Every tensor has values of its own, the counters and statistics too."""
    torch.manual_seed(0)
    with torch.device("cpu"):
        state = timm.create_model("tf_efficientnet_lite0").state_dict()
    return {
        name: torch.rand_like(value) if value.is_floating_point() else torch.tensor(number)
        for number, (name, value) in enumerate(state.items())
    }


@pytest.mark.parametrize("key_map", ["order", PAIRS], ids=["order", "pairs"])
def test_a_file_in_its_publishers_names_loads_by_a_key_map(
    key_map: Any, lite: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(lite)
    assert len(file) == 296 and "_blocks.0._depthwise_conv.weight" in file and not file.keys() & lite.keys()
    torch.save(file, tmp_path / "x.pth")
    checkpoint = read_checkpoint(tmp_path / "x.pth", "here")
    assert "got 296 others: _conv_stem.weight" in refused(checkpoint, LITE)
    found, how = read(checkpoint, replace(LITE, key_map=key_map))
    check(found, lite)
    assert how == {"names": "by order" if key_map == "order" else "by key_map"}
    if key_map == "order":
        log = "296 tensors are named by their order, in which all shapes agree with tf_efficientnet_lite0: _conv_stem.weight -> conv_stem.weight"
        assert log in capsys.readouterr().out


def test_order_needs_no_classifier_no_counters_and_takes_any_number_of_classes(lite: State) -> None:
    weights = replace(LITE, key_map="order")
    for left_out in ("_fc.", "num_batches_tracked", "nothing"):
        file = {name: value for name, value in published(lite).items() if left_out not in name}
        if left_out == "nothing":
            file |= {"_fc.weight": torch.ones(7, 1280), "_fc.bias": torch.ones(7)}
        counters = left_out != "num_batches_tracked"
        found = read(file, weights)[0]
        check(
            {name: value for name, value in found.items() if counters or not name.endswith("tracked")}, lite
        )


def test_order_is_refused_where_it_proves_nothing(lite: State) -> None:
    weights = replace(LITE, key_map="order")
    file = published(lite)
    assert "got safetensors, which sorts its tensors" in refused(Unordered(file), weights)
    names = list(file)
    swapped = [*names[:1], names[2], names[1], *names[3:]]  # weight and bias of a BatchNorm
    assert "needed bn1.weight of shape [32]" in refused({name: file[name] for name in swapped}, weights)
    shape = {**file, "_conv_stem.weight": torch.ones(32, 3, 5, 5)}
    assert "needed conv_stem.weight of shape [32, 3, 3, 3]" in refused(shape, weights)
    assert "got 295" in refused({name: file[name] for name in names[1:]}, weights)


def test_a_pattern_that_fits_nothing_or_makes_two_names_one_is_refused(raw: State) -> None:
    assert "needed a name that the pattern '^none' of key_map fits" in refused(
        raw, replace(WEIGHTS, key_map=(("^none", "x"),))
    )
    assert "got several called conv1" in refused(raw, replace(WEIGHTS, key_map=((r"^(\w+)\..*", r"\1"),)))


def test_a_plain_file_has_no_record_of_how_it_was_read(
    raw: State, capsys: pytest.CaptureFixture[str]
) -> None:
    found, how = read(raw)
    check(found, raw)
    assert how == {}
    assert capsys.readouterr().out == ""
