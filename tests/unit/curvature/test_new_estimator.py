"""An estimator and a structure are one file and one line each: the examples of docs/extending.md, as they stand."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from exact_curvature import relative_error
from obtransfer.config import labels, load
from obtransfer.curvature import compute_statistic, estimators, structures
from obtransfer.registry import ESTIMATORS, STRUCTURES
from tiny_models import TinyCNN, TinyViT, make, make_examples, make_head

PAGE = (Path(__file__).parents[3] / "docs" / "extending.md").read_text("utf-8")
ESTIMATOR = PAGE[PAGE.index("## An estimator") : PAGE.index("## A structure")]
STRUCTURE = PAGE[PAGE.index("## A structure") : PAGE.index("## A data set")]


def add_file(section: str, package: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    room = package.__name__.replace(".", "/")
    ((name, code),) = re.findall(
        rf"```python\n# workflow_scripts/{room}/(\w+)\.py\n(.*?)```", section, re.DOTALL
    )
    assert re.search(rf'^\+ +"(curvature\.estimators\.)?{name}",$', section, re.MULTILINE)
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    return name


def test_the_example_of_an_estimator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = add_file(ESTIMATOR, estimators, tmp_path, monkeypatch)
    monkeypatch.setitem(ESTIMATORS.modules, name, f"obtransfer.curvature.estimators.{name}")
    assert ESTIMATORS[name].structures == ("diagonal", "block", "kfac", "ekfac")

    model, head, (images, labels) = make(TinyCNN), make_head(4), make_examples(TinyCNN.input_shape, 5)
    diagonals = {
        smoothing: compute_statistic(model, head, [(images, labels)], name, smoothing=smoothing)
        for smoothing in (0.0, 0.2)
    }
    plain = compute_statistic(model, head, [(images, labels)], "empirical_fisher")
    targets = 0.8 * torch.eye(3, dtype=torch.float64)[labels] + 0.2 / 3
    exact = torch.zeros_like(model.get_parameter("stem.weight"))
    for image, target in zip(images, targets, strict=True):
        logits = model.eval()(image[None]) @ head.weight.T + head.bias
        loss = (logits - target).square().sum() / 2
        exact += torch.autograd.grad(loss, model.get_parameter("stem.weight"))[0].square() / 5
    assert all(torch.equal(diagonals[0.0][layer], tensor) for layer, tensor in plain.items())
    assert relative_error(diagonals[0.2]["stem.weight"], exact) < 1e-10


@pytest.fixture
def forgetful() -> Iterator[None]:
    """A process reads the declared settings once; here they change, and change back."""
    cached = labels.keys_of_label, labels.keys_of_curvature
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_the_example_of_an_estimator_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = add_file(ESTIMATOR, estimators, tmp_path, monkeypatch)
    monkeypatch.setitem(ESTIMATORS.modules, name, f"obtransfer.curvature.estimators.{name}")
    config = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text("utf-8"))
    (written,) = re.findall(r"```yaml\n(.*?)```", ESTIMATOR, re.DOTALL)
    added = yaml.safe_load(written)
    (label,) = added["criteria"]
    config["criteria"].update(added["criteria"])
    config["curvature"].update(added["curvature"])
    config["grid"]["criteria"] = [label]
    found = load(config)
    assert found.criteria[label].estimator == name
    assert found.curvature.options["smoothing"] == 0.2


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT], ids=lambda kind: kind.__name__)
def test_the_example_of_a_structure(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = add_file(STRUCTURE, structures, tmp_path, monkeypatch)
    monkeypatch.setitem(STRUCTURES.modules, name, f"obtransfer.curvature.structures.{name}")
    model, batches = make(kind), [make_examples(kind.input_shape, 5)]
    found = compute_statistic(model, make_head(4), batches, "mc_fisher", name)
    diagonals = compute_statistic(model, make_head(4), batches, "mc_fisher", "diagonal")
    assert list(found) == list(diagonals)
    for layer, diagonal in diagonals.items():
        assert relative_error(found[layer].flatten(), diagonal.flatten(1).sum(dim=1)) < 1e-10, layer
    arrays = {layer: tensor.numpy() for layer, tensor in found.items()}
    weights = {layer: model.get_parameter(layer).detach().numpy() for layer in found}
    assert STRUCTURES[name].problems(arrays, weights) == []
    first = next(iter(arrays))
    shape = f"needed shape [1, {len(weights[first])}], got [1, 1]"
    assert STRUCTURES[name].problems(arrays | {first: arrays[first][:1, :1]}, weights) == [
        f"{first}: {shape}"
    ]
