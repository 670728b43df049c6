"""A format of weights is one file and one line: the example of docs/extending.md, as it stands."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from download_pretrained import download_pretrained
from obtransfer.models import formats
from obtransfer.models.load import load_backbone
from obtransfer.models.published import published_weights
from obtransfer.registry import FORMATS
from obtransfer.settings import BackboneEntry, FetchSettings

PAGE = (Path(__file__).parents[3] / "docs" / "extending.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("## A source of weights") : PAGE.index("## A figure")]


def test_the_example_of_a_format_makes_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    ((name, code),) = re.findall(
        r"```python\n# workflow_scripts/obtransfer/models/formats/(\w+)\.py\n(.*?)```", SECTION, re.DOTALL
    )
    assert re.search(rf'^\+ +"{name}",$', SECTION, re.MULTILINE)
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    monkeypatch.setitem(FORMATS.modules, name, f"obtransfer.models.formats.{name}")

    (configured,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    config = yaml.safe_load(configured)
    (backbone,) = config["grid"]["backbones"]
    own = {backbone: BackboneEntry(**config["backbones"][backbone])}
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    weights = timm.create_model(backbone.partition(".")[0], num_classes=0).state_dict()
    state = {f"net.encoder.{key}": value for key, value in weights.items()}
    file = Path(own[backbone].address)
    file.parent.mkdir()
    torch.save({"weights": {**state, "net.projection.0.weight": torch.zeros(3)}, "epoch": 9}, file)

    entry = published_weights(own, backbone)
    path = tmp_path / "backbone.safetensors"
    made = {"settings": {"entry": asdict(entry), "code": "0"}}
    download_pretrained(path, backbone=backbone, entry=entry, fetching=FetchSettings(offline=True), made=made)
    found = load_backbone(path).model.state_dict()
    assert set(found) == set(weights)
    assert all(torch.equal(found[key], value) for key, value in weights.items())
