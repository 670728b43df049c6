"""ONNX files: what they compute, and what they hold."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.export import onnx_file
from obtransfer.export.onnx_file import run_onnx, write_onnx
from obtransfer.models.build import build
from onnx import numpy_helper

torch.set_num_threads(1)


def network(architecture: str) -> torch.nn.Module:
    """Random weights, half of each matrix zero, and BatchNorm that does something."""
    torch.manual_seed(0)
    model = build(architecture)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim > 1:
                tensor.mul_(torch.rand(tensor.shape) < 0.5)
            elif tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if name.endswith(("weight", "running_var")) else tensor.uniform_(
                    -0.2, 0.2
                )
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("miniresnet", 32),
        ("minivit", 32),
        ("test_resnet", 160),
        ("test_vit", 160),
        ("tf_mobilenetv3_small_minimal_100", 65),
    ],
)
def test_any_batch_gives_what_pytorch_gives(architecture: str, size: int, tmp_path: Path) -> None:
    model = network(architecture)
    write_onnx(model, tmp_path / "model.onnx", size)
    images = torch.randn(7, 3, size, size)
    with torch.no_grad():
        expected = model(images).numpy()
    for number in (1, 7):
        found = run_onnx(tmp_path / "model.onnx", images[:number].numpy(), threads=1, batch_size=5)
        assert found.shape == expected[:number].shape
        assert np.abs(found - expected[:number]).max() < 1e-5 < np.abs(expected).max()


@pytest.mark.slow
def test_equal_models_give_equal_bytes_that_name_no_folder_and_keep_the_zeros(tmp_path: Path) -> None:
    model = network("miniresnet")
    for name in ("one", "two"):
        write_onnx(model, tmp_path / name, 32)
    content = (tmp_path / "one").read_bytes()
    assert content == (tmp_path / "two").read_bytes()
    assert b".py" not in content and str(Path.cwd()).encode() not in content
    proto = onnx.load(tmp_path / "one")
    onnx.checker.check_model(proto)
    kept = sum(
        np.count_nonzero(numpy_helper.to_array(item))
        for item in proto.graph.initializer
        if len(item.dims) > 1
    )
    assert kept == sum(int(torch.count_nonzero(t)) for t in model.state_dict().values() if t.ndim > 1)


def test_a_model_too_large_for_one_file_is_refused_before_anything_is_exported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_file, "_LARGEST_GB", 0.001)
    with pytest.raises(ObtransferError, match=r"holds less than 0\.001 GB of weights"):
        write_onnx(build("miniresnet"), tmp_path / "model.onnx", 32)
    assert not [*tmp_path.iterdir()]
