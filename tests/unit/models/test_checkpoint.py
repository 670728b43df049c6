"""Files are read by what they are, not by what they are called; code in a pickle is refused, never run."""

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path

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
    with pytest.raises(ObtransferError, match=r"names torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(write(tmp_path / "x", "zip", torch.nn.Linear(1, 1)), "here")


@pytest.mark.slow
def test_the_conversion_that_the_refusal_offers_works(tmp_path: Path) -> None:
    """For those who trust the author: the command as printed, on a harmless file."""
    import re
    import shlex
    import subprocess
    import sys

    path = write(tmp_path / "x.pth", "zip", {"state_dict": TENSORS, "model": torch.nn.ReLU()})
    with pytest.raises(ObtransferError) as error:
        read_checkpoint(path, "here")
    printed = re.search(r'python (-c ".*") FILE', str(error.value))
    assert printed is not None
    command = [sys.executable, *shlex.split(printed[1]), str(path), str(tmp_path / "new")]
    subprocess.run(command, check=True)
    assert torch.equal(read_checkpoint(tmp_path / "new", "here")["a"], TENSORS["a"])


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
