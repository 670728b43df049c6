"""Reads a publisher's file, whatever its name: safetensors, or a pickle that holds nothing but data."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError
from obtransfer.models.refusal import refusal

if TYPE_CHECKING:
    from torch import Tensor

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_BEHIND_LENGTH = 8  # a safetensors file begins with the length of its header, which begins with {
_POINTER = b"version https://git-lfs"


class Unordered(dict[str, Any]):
    """Tensors in another order than the network's: safetensors sorts them."""


def read_checkpoint(path: Path, what: str) -> dict[str, Any]:
    """What a file of weights holds, in memory or mapped from it.

    The first bytes show the format. A pickle may name any function of any package, and loading it calls that function.
    Only tensors, containers, numbers and text are allowed (`torch.load(weights_only=True)`), numpy's too, and the settings
    that training scripts leave behind (`argparse.Namespace`).

    Args:
        path: the file.
        what: where the file came from, for errors.

    Raises:
        ObtransferError: neither format, damaged, or a pickle with code.
    """
    with path.open("rb") as stream:
        first = stream.read(64)
    if first[_BEHIND_LENGTH : _BEHIND_LENGTH + 1] == b"{":
        return _safetensors(path, what)
    if first.startswith((_ZIP, _PICKLE)):
        return _pickle(path, what, mapped=first.startswith(_ZIP))
    raise ObtransferError(f"{what}: needed a safetensors file or one of torch.save; {_guess(first)}")


def state_dict_of(checkpoint: Mapping[str, Any], key: str, what: str) -> dict[str, Tensor]:
    """The tensors under `key`, or the checkpoint itself where `key` is "".

    Raises:
        ObtransferError: there are none, or something else is among them.
    """
    import torch
    from torch import Tensor

    found = checkpoint.get(key) if key else checkpoint
    if not isinstance(found, Mapping) or not found:
        raise ObtransferError(
            f"{what}: needed the weights under the key {key!r}; got a file with {keys_shown(checkpoint)}; check that it is the "
            "publisher's file, and name its format"
        )
    found = {name: torch.from_numpy(value) if _is_array(value) else value for name, value in found.items()}
    others = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        raise ObtransferError(
            f"{what}: needed nothing but tensors; got {keys_shown(others)} besides; check that it is a file "
            "of weights, and write its format; local looks for weights in the entries of a checkpoint"
        )
    return found


def _is_array(value: Any) -> bool:
    """Whether torch has the type of numpy's array."""
    import numpy as np

    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def select(
    state: Mapping[str, Tensor], *, prefix: str = "", dropped: Iterable[str] = ()
) -> dict[str, Tensor]:
    """The backbone's tensors under their own names, as float32.

    A tensor that is neither dropped nor under the prefix keeps its name, so strict loading lists it as unexpected. Files
    from before PyTorch 0.4.1 lack BatchNorm's counter of batches, which evaluation does not read: it becomes 0, as in
    PyTorch.

    Args:
        state: of the file; not changed.
        prefix: removed from the names that begin with it.
        dropped: beginnings of names, as in the file, of what is not the backbone.
    """
    import torch

    kept = {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in state.items()
        if not name.startswith(tuple(dropped))
    }
    for name in [name for name in kept if name.endswith(".running_mean")]:
        kept.setdefault(f"{name.removesuffix('running_mean')}num_batches_tracked", torch.tensor(0))
    return kept


def _safetensors(path: Path, what: str) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return Unordered(load_file(path))
    except SafetensorError as error:
        raise ObtransferError(
            f"{what}: the safetensors file is damaged ({error}); remove it and fetch it again"
        ) from error


def _pickle(path: Path, what: str, *, mapped: bool) -> dict[str, Any]:
    import pickle

    import torch

    if mapped:
        _check_archive(path, what)
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *_numpys()]):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ObtransferError(refusal(path, what, str(error))) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ObtransferError(f"{what}: the file can't be read ({reason}); fetch it again") from error
    if not isinstance(found, Mapping):
        raise ObtransferError(f"{what}: needed a mapping of names to tensors; got {type(found).__name__}")
    return dict(found)


def _check_archive(path: Path, what: str) -> None:
    """Refuse a zip file of something else: a TorchScript program, or arrays of numpy.

    A damaged one passes, and torch says what is wrong.
    """
    import zipfile

    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError):
        return
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends:
        raise ObtransferError(
            f"{what}: needed a state_dict; got a TorchScript program, which is code. If you trust its author, convert it:\n"
            "  python -c \"import sys, torch; torch.save(torch.jit.load(sys.argv[1], 'cpu').state_dict(), sys.argv[2])\" "
            "FILE NEW.pth\nand name the new file under backbones, with format: local"
        )
    if "data.pkl" not in ends:
        raise ObtransferError(
            f"{what}: needed a file of torch.save; got a zip file with {keys_shown(names)}; name a file of weights"
        )


def _numpys() -> list[Any]:
    """What numpy makes scalars and arrays of numbers and text from, also under the names of numpy 1. Objects are refused."""
    import numpy as np
    from numpy._core import multiarray

    made = (multiarray.scalar, multiarray._reconstruct)
    old = [(function, f"numpy.core.multiarray.{function.__name__}") for function in made]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGSU"}
    return [*made, *old, np.ndarray, np.dtype, *kinds]


def _guess(first: bytes) -> str:
    if first.lstrip()[:1] == b"<":
        return "got a web page: the address asks for a login or is wrong"
    if first.startswith(_POINTER):
        return "got a pointer of git-lfs: fetch the file itself (git lfs pull)"
    return f"got a file that begins with {first[:12]!r}" if first else "got an empty file"


def keys_shown(names: Iterable[str]) -> str:
    """The first keys in words."""
    listed = list(names)
    return (
        f"the keys {', '.join(map(str, listed[:8]))}{' ...' if len(listed) > 8 else ''}"
        if listed
        else "nothing in it"
    )
