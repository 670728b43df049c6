"""The step from a publisher's server to the backbone's artefact."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from download_pretrained import download_pretrained
from obtransfer.artifacts import read_tensors
from obtransfer.errors import ObtransferError
from obtransfer.models.formats import mocov2
from obtransfer.models.load import load_backbone
from obtransfer.models.published import published_weights
from obtransfer.models.weights_lock import locked
from obtransfer.settings import BackboneEntry, FetchSettings, KeysByOrder
from torch import Tensor

Official = Callable[[str, Mapping[str, Tensor]], dict[str, Any]]
Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Run:
    """Runs the step as its rule does; the server stands for the hub and, as a mirror, for every publisher."""
    monkeypatch.setenv("HF_ENDPOINT", server.address)

    def step(name: str, *, own: Mapping[str, BackboneEntry] | None = None, **weights: Any) -> Path:
        entry = published_weights(own or {}, name)
        lock = str(tmp_path / "weights.lock.yaml")
        how = {"mirror": f"{server.address}/mirror", "offline": False, "lock": lock, **weights}
        path = tmp_path / "pretrained" / f"{name}.safetensors"
        settings = {"entry": json.loads(json.dumps(asdict(entry))), "fetching": how, "file": [], "code": "0"}
        made = {"settings": settings, "rule": "download_pretrained"}
        download_pretrained(path, backbone=name, entry=entry, fetching=FetchSettings(**how), made=made)
        return path

    return step


def publish(server: Any, path: str, content: Mapping[str, Any], tmp_path: Path) -> str:
    """Put a file of torch.save on the server; returns its SHA-256."""
    file = tmp_path / f"published{len(server.files)}"
    torch.save(dict(content), file)
    server.files[path] = file
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "address"),
    [
        ("resnet50.mocov2", "mocov2", "moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"),
        ("resnet50.dino", "dino", "dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"),
        (
            "vit_base_patch16_224.dino_official",
            "dino",
            "dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        ),
        ("vit_base_patch16_224.mocov3", "mocov3", "moco-v3/vit-b-300ep/vit-b-300ep.pth.tar"),
    ],
)
def test_a_publishers_file_becomes_the_backbone(
    name: str,
    kind: str,
    address: str,
    official: Official,
    server: Any,
    run: Run,
    naps: list[float],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through a server that is busy, then cuts the connection, then serves the rest."""
    weights = request.getfixturevalue("resnet50" if name.startswith("resnet") else "vit_base")
    sha256 = publish(server, f"/mirror/dl.fbaipublicfiles.com/{address}", official(kind, weights), tmp_path)
    monkeypatch.setitem(mocov2.CHECKSUMS, "moco_v2_800ep_pretrain.pth.tar", sha256[:8])
    server.behaviour = [503, "cut", "cut"]
    path = run(name)
    artefact = read_tensors(path, kind="backbone")
    assert set(artefact.tensors) == set(weights)
    for key, value in weights.items():
        assert (artefact.tensors[key] == value.float().numpy()).all(), key
    published = f"https://dl.fbaipublicfiles.com/{address}"
    assert artefact.metadata["checkpoint"] == {"name": published, "sha256": sha256}
    assert locked(tmp_path / "weights.lock.yaml", published) == sha256
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert str(tmp_path) not in json.dumps(artefact.metadata)
    assert len(naps) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hub", "kind", "file"),
    [
        ("resnet50.tv_in1k", "timm/resnet50.tv_in1k", "timm_resnet", "pytorch_model.bin"),
        (
            "vit_base_patch16_224.imagenet",
            "timm/vit_base_patch16_224.augreg_in1k",
            "timm_vit",
            "model.safetensors",
        ),
    ],
)
def test_the_hub_gives_either_format(
    name: str,
    hub: str,
    kind: str,
    file: str,
    official: Official,
    server: Any,
    run: Run,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    from safetensors.torch import save_file

    weights = request.getfixturevalue("resnet50" if name.startswith("resnet") else "vit_base")
    content = {key: value.contiguous() for key, value in official(kind, weights).items()}
    if file.endswith("bin"):
        torch.save(content, tmp_path / "published")
    else:
        save_file(content, tmp_path / "published", metadata={"format": "pt"})
    server.files["/store"] = tmp_path / "published"
    sha256 = hashlib.sha256((tmp_path / "published").read_bytes()).hexdigest()
    server.redirections[f"/{hub}/resolve/main/{file}"] = ("/store", {"X-Linked-Etag": f'"{sha256}"'})
    backbone = load_backbone(run(name))
    model, card = backbone.model, backbone.metadata
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key].to(value.dtype)), key
    assert card["checkpoint"]["name"] == f"hub:{hub}/{file}"
    assert card["architecture"].endswith(hub.rpartition(".")[2])
    assert locked(tmp_path / "weights.lock.yaml", f"hub:{hub}/{file}") == sha256


def test_torchvisions_name_of_a_file_is_its_checksum(server: Any, run: Run, tmp_path: Path) -> None:
    publish(
        server, "/mirror/download.pytorch.org/models/resnet50-0676ba61.pth", {"x": torch.zeros(1)}, tmp_path
    )
    with pytest.raises(ObtransferError, match="by its name the checksum should begin with 0676ba61"):
        run("resnet50.imagenet")


@pytest.fixture
def small() -> dict[str, Tensor]:
    import timm

    torch.manual_seed(0)
    return dict(timm.create_model("test_resnet", num_classes=7).state_dict())


def test_a_file_of_yours(small: dict[str, Tensor], server: Any, run: Run, tmp_path: Path) -> None:
    torch.save({"state_dict": small, "epoch": 3}, tmp_path / "mine.pth")
    entry = BackboneEntry(
        format="local", address=str(tmp_path / "mine.pth"), mean=(0.5, 0.5, 0.5), input_size=96
    )
    path = run("test_resnet.mine", own={"test_resnet.mine": entry}, offline=True)
    backbone = load_backbone(path)
    model, card = backbone.model, backbone.metadata
    assert all(torch.equal(value, small[name]) for name, value in model.state_dict().items())
    assert (card["input_size"], card["mean"], card["interpolation"]) == (96, [0.5, 0.5, 0.5], "bilinear")
    assert str(tmp_path) not in json.dumps(card)
    assert (tmp_path / "mine.pth").exists()
    assert not (tmp_path / "weights.lock.yaml").exists()
    assert server.asked == []


def test_the_entry_that_was_taken_is_recorded(
    small: dict[str, Tensor], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    average = {name: value + 1 for name, value in small.items()}
    wrapped = [{f"module.{name}": value for name, value in state.items()} for state in (small, average)]
    both = dict(zip(("state_dict", "state_dict_ema"), wrapped, strict=True))
    torch.save(both, tmp_path / "mine.pth")
    for entry, wanted in ((None, average), ("state_dict_ema", average), ("state_dict", small)):
        own = BackboneEntry(format="local", address=str(tmp_path / "mine.pth"), weights_entry=entry)
        backbone = load_backbone(run("test_resnet.mine", own={"test_resnet.mine": own}))
        assert all(torch.equal(value, wanted[name]) for name, value in backbone.model.state_dict().items())
        taken = backbone.metadata["checkpoint"]
        assert (taken["entry"], taken["prefix"]) == (entry or "state_dict_ema", "module.")
        assert f"its entry {entry or 'state_dict_ema'}" in capsys.readouterr().out or entry


def test_a_key_map_of_the_configuration_is_applied(
    small: dict[str, Tensor], run: Run, tmp_path: Path
) -> None:
    renamed = {f"net.{name.replace('conv', 'convolution')}": value for name, value in small.items()}
    torch.save(renamed, tmp_path / "mine.pth")
    for key_map in ((("convolution", "conv"),), KeysByOrder(by="order")):
        own = BackboneEntry(format="local", address=str(tmp_path / "mine.pth"), key_map=key_map)
        backbone = load_backbone(run("test_resnet.mine", own={"test_resnet.mine": own}))
        assert all(torch.equal(value, small[name]) for name, value in backbone.model.state_dict().items())
        ordered = isinstance(key_map, KeysByOrder)
        assert backbone.metadata["checkpoint"]["names"] == ("by order" if ordered else "by key_map")


def test_differences_are_listed_and_the_next_run_asks_again(
    small: dict[str, Tensor], server: Any, run: Run, tmp_path: Path
) -> None:
    right = dict(small)
    small |= {"surprise": torch.zeros(1), "conv1.0.weight": torch.zeros(1, 3, 3, 3)}
    del small["bn1.bias"]
    publish(server, "/mirror/a.example/mine.pth", small, tmp_path)
    own = {"test_resnet.mine": BackboneEntry(format="local", address="https://a.example/mine.pth")}
    with pytest.raises(ObtransferError) as error:
        run("test_resnet.mine", own=own)
    for part in ("unexpected surprise", "missing bn1.bias", "conv1.0.weight has shape [1, 3, 3, 3]"):
        assert part in str(error.value)
    assert not (tmp_path / "weights.lock.yaml").exists(), "only a file that fits is recorded"
    assert list((tmp_path / "pretrained").iterdir()) == []
    publish(server, "/mirror/a.example/mine.pth", right, tmp_path)
    assert run("test_resnet.mine", own=own).is_file()
    publish(server, "/mirror/a.example/mine.pth", small, tmp_path)
    with pytest.raises(ObtransferError, match="changed since its first download"):
        run("test_resnet.mine", own=own)


def test_weights_that_are_not_finite_are_refused(
    small: dict[str, Tensor], server: Any, run: Run, tmp_path: Path
) -> None:
    small["bn1.bias"] = torch.full_like(small["bn1.bias"], float("nan"))
    torch.save(small, tmp_path / "mine.pth")
    entry = BackboneEntry(format="local", address=str(tmp_path / "mine.pth"))
    with pytest.raises(ObtransferError, match=r"bn1\.bias"):
        run("test_resnet.mine", own={"test_resnet.mine": entry})


def test_a_checksum_of_the_configuration_is_enforced(
    small: dict[str, Tensor], server: Any, run: Run, tmp_path: Path
) -> None:
    torch.save(small, tmp_path / "mine.pth")
    entry = BackboneEntry(format="local", address=str(tmp_path / "mine.pth"), sha256="0" * 64)
    with pytest.raises(ObtransferError, match="by the registry or the configuration the checksum should"):
        run("test_resnet.mine", own={"test_resnet.mine": entry})


def test_offline_names_the_file_to_bring(run: Run, server: Any, tmp_path: Path) -> None:
    with pytest.raises(ObtransferError) as error:
        run("vit_small_patch16_224.dino_official", offline=True, mirror=str(tmp_path / "brought"))
    assert f"put it here as {tmp_path}/brought/dino_deitsmall16_pretrain.pth" in str(error.value)
    assert server.asked == []
