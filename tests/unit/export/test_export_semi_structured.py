"""2:4: who has the pattern, what PyTorch can convert, and what the card says without a GPU."""

import itertools

import numpy as np
import pytest
import torch
from obtransfer.export import semi_structured
from obtransfer.masks.mask import Mask
from obtransfer.masks.n_of_m import n_of_4
from obtransfer.models.build import build
from obtransfer.models.prunable import prunable_parameters
from torch import nn

torch.set_num_threads(1)


def drawn(model: nn.Module, sparsity: float) -> Mask:
    generator = np.random.default_rng(0)
    scores = {
        name: generator.random(tuple(model.get_parameter(name).shape)) for name in prunable_parameters(model)
    }
    return Mask(n_of_4(scores, sparsity))


def test_every_pattern_of_four_inputs() -> None:
    for bits in itertools.product([False, True], repeat=4):
        kept = np.array([[True, False, True, False, *bits]])
        assert semi_structured.two_of_four({"w": kept}) == (["w"] if sum(bits) <= 2 else [])


def test_groups_of_a_convolution_run_along_its_inputs() -> None:
    kept = np.zeros((1, 4, 1, 2), dtype=bool)
    kept[0, :2, 0, 0] = kept[0, 2:, 0, 1] = True
    assert semi_structured.two_of_four({"w": kept}) == ["w"]
    kept[0, 2, 0, 0] = True
    assert semi_structured.two_of_four({"w": kept}) == []


def test_inputs_that_are_no_multiple_of_four_have_no_pattern() -> None:
    assert semi_structured.two_of_four({"w": np.zeros((2, 6), dtype=bool)}) == []


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build("minivit")


def test_without_a_gpu_the_card_says_so(model: nn.Module) -> None:
    report = semi_structured.report(model, drawn(model, 0.5), torch.zeros(2, 3, 32, 32), gpu=False)
    assert report["statement"] == semi_structured.NO_GPU
    assert "no speed was measured" in report["statement"] and "speed_up" not in report
    assert report["without"] == ["patch_embed.proj.weight"] and len(report["layers"]) == 20
    # 96 × 384: the only ones with a multiple of 64 inputs
    assert report["convertible"] == [f"blocks.{block}.mlp.fc2.weight" for block in range(5)]


def test_a_mask_without_the_pattern_says_nothing(model: nn.Module) -> None:
    mask = drawn(model, 0.5)
    mask.kept["blocks.0.mlp.fc1.weight"] = np.ones((384, 96), dtype=bool)
    assert semi_structured.report(model, mask, torch.zeros(1), gpu=False) == {}
    assert semi_structured.report(model, drawn(model, 0.25), torch.zeros(1), gpu=False) == {}


def test_convolutions_gain_nothing() -> None:
    model = build("miniresnet")
    report = semi_structured.report(model, drawn(model, 0.5), torch.zeros(1), gpu=True)  # no GPU is touched
    assert report["convertible"] == [] and "no speed to gain" in report["statement"]


def test_whether_a_gpu_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not semi_structured.gpu_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, enough in {(7, 5): False, (8, 0): True, (9, 0): True}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert semi_structured.gpu_available() == enough


@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor:UserWarning")
def test_weights_become_semi_structured_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, which PyTorch can compress on though not multiply: its backend's own check is put aside."""
    kind = torch.sparse.SparseSemiStructuredTensorCUTLASS
    monkeypatch.setattr(kind, "_validate_device_dim_dtype_shape", classmethod(lambda cls, tensor: None))
    monkeypatch.setattr(torch.sparse.SparseSemiStructuredTensor, "_FORCE_CUTLASS", True)
    model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 32)).half()
    with torch.no_grad():
        model[0].weight *= torch.tensor([1, 0, 0, 1]).tile(32, 16)
    kept = model[0].weight.detach()
    semi_structured.convert(model, semi_structured.convertible(model, ["0.weight", "1.weight"]))
    assert isinstance(model[0].weight, torch.sparse.SparseSemiStructuredTensor)
    assert torch.equal(model[0].weight.packed, kept[kept != 0].reshape(32, 32))
    assert type(model[1].weight) is nn.Parameter
