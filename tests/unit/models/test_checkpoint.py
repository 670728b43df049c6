"""Files are read by what they are, not by what they are called; code in a pickle is refused, never run."""

import argparse
import os
import pickle
import re
import shlex
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from obtransfer.errors import ObtransferError
from obtransfer.models.checkpoint import read_checkpoint
from safetensors.torch import save_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


class Malice:
    """Unpickled, it makes a file: whoever reads one of these finds out."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def write(path: Path, form: str, content: object) -> Path:
    if form == "safetensors":
        save_file(content, path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


@pytest.mark.parametrize("form", ["safetensors", "zip", "old"])
@pytest.mark.parametrize("name", ["x.download", "x.pth"])
def test_the_format_is_told_by_the_content(form: str, name: str, tmp_path: Path) -> None:
    found = read_checkpoint(write(tmp_path / name, form, TENSORS), "here")
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[key], value) for key, value in TENSORS.items())


def test_what_training_scripts_leave_behind_is_read(tmp_path: Path) -> None:
    content = {"state_dict": OrderedDict(TENSORS), "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    found = read_checkpoint(write(tmp_path / "x", "zip", content), "here")
    assert found["args"].lr == 0.1


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(form: str, tmp_path: Path) -> None:
    trace = tmp_path / "was_here"
    path = write(
        tmp_path / "x.pth", form, {"state_dict": TENSORS if form != "pickle" else {}, "x": Malice(trace)}
    )
    with pytest.raises(ObtransferError) as error:
        read_checkpoint(path, "https://example.org/x.pth")
    assert not trace.exists()
    for part in ("https://example.org/x.pth", "refused", "runs whatever code", "format: local"):
        assert part in str(error.value)
    assert ("mkdir" in str(error.value)) == (form != "pickle")


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ObtransferError, match=r"names .*torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(write(tmp_path / "x", "zip", torch.nn.Linear(1, 1)), "here")


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))


def convert_as_printed(path: Path, new: Path) -> dict[str, Any]:
    """For those who trust the author: the command as printed, on a harmless file; what the new file holds."""
    with pytest.raises(ObtransferError) as error:
        read_checkpoint(path, "here")
    printed = re.search(r'python (-c ".*") FILE NEW', str(error.value))
    assert printed is not None
    command = [sys.executable, *shlex.split(printed[1]), str(path), str(new)]
    subprocess.run(command, check=True)
    return read_checkpoint(new, "here")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("form", "entry"),
    [
        *(("zip", entry) for entry in ("", "model", "state_dict", "state_dict beside a model", "tensors")),
        ("old", "model"),
        ("protocol 4", "ema"),
    ],
)
def test_the_conversion_that_the_refusal_offers_works(form: str, entry: str, tmp_path: Path) -> None:
    made = network()
    state = dict(made.state_dict())
    contents: dict[str, Any] = {
        "": made,
        "state_dict": {"state_dict": state, "loss": torch.nn.ReLU(), "epoch": 3},
        "state_dict beside a model": {"state_dict": state, "model": torch.nn.ReLU()},
        "tensors": {**state, "kind": torch.nn.ReLU},
    }
    content = contents.get(entry, {entry: made, "optimizer": {"lr": 0.1}, "epoch": 3})
    if form == "protocol 4":
        torch.save(content, tmp_path / "x.pth", pickle_protocol=4)
    else:
        write(tmp_path / "x.pth", form, content)
    found = convert_as_printed(tmp_path / "x.pth", tmp_path / "new")
    key = entry.partition(" ")[0]
    found = found if key in ("", "tensors") else found[key]
    assert set(found) == set(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.slow
def test_the_conversion_that_is_offered_for_torchscript_works(tmp_path: Path) -> None:
    made = network().eval()
    torch.jit.trace(made, torch.zeros(4, 2)).save(tmp_path / "x.pth")
    with pytest.raises(ObtransferError, match="got a TorchScript program") as error:
        read_checkpoint(tmp_path / "x.pth", "here")
    assert "fetch it again" not in str(error.value)
    found = convert_as_printed(tmp_path / "x.pth", tmp_path / "new")
    assert set(found) == set(made.state_dict())
    assert all(torch.equal(found[name], value) for name, value in made.state_dict().items())


@pytest.mark.parametrize("place", ["gone", "gone.inner", "timm.gone", "__main__"])
def test_no_conversion_is_offered_that_can_not_work(place: str, tmp_path: Path) -> None:
    """The class of a whole model is in a module that is not installed."""
    module = ModuleType(place)
    made = type("Net", (torch.nn.Linear,), {"__module__": place})
    vars(module)["Net"] = made
    with pytest.MonkeyPatch.context() as patch:
        for name in {place, place.partition(".")[0]} - {"timm"}:
            patch.setitem(sys.modules, name, module)
        write(tmp_path / "x.pth", "zip", made(1, 1))
    with pytest.raises(ObtransferError) as error:
        read_checkpoint(tmp_path / "x.pth", "here")
    assert "python -c" not in str(error.value)
    assert f"where {place}.Net is defined" in str(error.value)


@pytest.mark.parametrize(
    ("form", "module"), [("zip", "numpy._core"), ("old", "numpy._core"), ("old", "numpy.core")]
)
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8", "bool", "U4"])
def test_numpys_numbers_and_arrays_are_data(kind: str, module: str, form: str, tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(kind))
    path = write(tmp_path / "x", form, {"best": array[1, 1], "array": array, **TENSORS})
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    if module == "numpy.core":  # as numpy 1 names it
        path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    found = read_checkpoint(path, "here")
    assert found["best"] == array[1, 1] and found["best"].dtype == array[1, 1].dtype
    np.testing.assert_array_equal(found["array"], array)
    assert torch.equal(found["a"], TENSORS["a"])


def test_numpys_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    array = np.empty(1, dtype=object)
    for held in (Malice(tmp_path / "was_here"), {1}):
        array[0] = held
        with pytest.raises(ObtransferError, match="refused"):
            read_checkpoint(write(tmp_path / "x", "zip", {"x": array}), "here")
    with pytest.raises(ObtransferError, match="refused"):
        read_checkpoint(write(tmp_path / "x", "zip", {"x": np.random.default_rng(0)}), "here")
    assert not (tmp_path / "was_here").exists()


def test_a_zip_file_of_something_else_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", weight=np.zeros(2))
    with pytest.raises(ObtransferError, match=r"got a zip file with the keys weight\.npy"):
        read_checkpoint(tmp_path / "x.npz", "here")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><html>log in</html>", "got a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of git-lfs"),
        (b"", "got an empty file"),
        (b"\x89PNG", "got a file that begins with"),
    ],
)
def test_what_is_no_file_of_weights_is_told(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ObtransferError, match=f"needed a safetensors file or one of torch.save; .*{told}"):
        read_checkpoint(tmp_path / "x", "here")


@pytest.mark.parametrize("form", ["safetensors", "zip", "old"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_told(form: str, share: float, tmp_path: Path) -> None:
    content = write(tmp_path / "x", form, {"a": torch.zeros(1000)}).read_bytes()
    (tmp_path / "x").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ObtransferError, match="here: "):
        read_checkpoint(tmp_path / "x", "here")


def test_a_single_tensor_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ObtransferError, match="needed a mapping of names to tensors; got Tensor"):
        read_checkpoint(write(tmp_path / "x", "zip", torch.zeros(2)), "here")
