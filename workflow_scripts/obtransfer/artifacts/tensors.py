"""Named arrays: safetensors files, with the card among their metadata.

Written by hand because safetensors 0.8 gives every file the mode 0600 and leaves its own temporary file behind when it is
killed, in up to the size of the artefact; time and memory would be the same. Read by hand because safetensors copies arrays
instead of mapping them (1.0 instead of 0.0 of the file in private memory) and does not align them; see
``benchmarks/artifacts.py``.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from obtransfer.artifacts.cards import CARD, UNREADABLE, check_card, new_card
from obtransfer.artifacts.files import atomic_path, damaged, missing
from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    import numpy as np

Arrays: TypeAlias = "Mapping[str, np.ndarray]"
"""Names, such as those of parameters or of the entries of a statistic, to arrays."""

_ALIGNMENT = 64  # bytes
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Artifact:
    """Named arrays with the metadata they were written with; `digest` is the SHA-256 of both."""

    tensors: dict[str, np.ndarray]
    metadata: dict[str, Any]
    digest: str


def write_tensors(
    path: Path | str,
    tensors: Arrays,
    *,
    kind: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays and metadata as one checksummed safetensors file, atomically.

    Arrays go to the file one by one, so arrays mapped from other files are never in memory together.

    Args:
        path: the file to write; missing folders are made.
        tensors: name to array, any shape, of a type safetensors knows.
        kind: what the artefact is ("mask", "scores", ...); reading asks for the same.
        metadata: anything JSON can hold.
    """
    import numpy as np

    # Wide types first, so that every array begins at a multiple of its items' size.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    arrays = {name: np.ascontiguousarray(tensors[name]).reshape(tensors[name].shape) for name in names}
    card = new_card(kind, metadata)
    card["digest"] = _digest(card, arrays)
    with atomic_path(path) as partial, open(partial, "wb") as stream:
        stream.write(_header(card, arrays))
        stream.writelines(_bytes(array) for array in arrays.values())


def read_tensors(path: Path | str, *, kind: str) -> Artifact:
    """Read and verify what `write_tensors` wrote.

    Raises:
        ObtransferError: missing, of another kind, truncated or altered; names the file and how to remake it.
    """
    return _open(Path(path), kind, mapped=False)


def map_tensors(path: Path | str, *, kind: str) -> Artifact:
    """As `read_tensors`, with read-only arrays mapped from the file: pages are shared between processes."""
    return _open(Path(path), kind, mapped=True)


def check_finite(tensors: Arrays, what: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        ObtransferError: names every tensor that has some, and how many.
    """
    import numpy as np

    bad = {name: int(array.size - np.isfinite(array).sum()) for name, array in tensors.items()}
    named = [f"{name}: {count} of {tensors[name].size}" for name, count in bad.items() if count]
    if named:
        raise ObtransferError(f"{what} must be finite, but NaN or infinity was found in {'; '.join(named)}")


def _open(path: Path, kind: str, *, mapped: bool) -> Artifact:
    import numpy as np

    if not path.is_file():
        raise missing(path, kind)
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
        size = struct.unpack("<Q", content[:8].tobytes())[0]
        header = json.loads(content[8 : 8 + size].tobytes())
        card = json.loads(header.pop("__metadata__")[CARD])
        expected = card.pop("digest")
        data = content[8 + size :]
        arrays = {name: _view(data, entry, mapped) for name, entry in header.items()}
    except UNREADABLE as error:
        raise damaged(path, f"its header can't be read ({type(error).__name__}: {error})") from error
    check_card(path, card, kind, expected, _digest(card, arrays))
    return Artifact(arrays, card["metadata"], expected)


def _header(card: Mapping[str, Any], arrays: Arrays) -> bytes:
    """What the safetensors format puts before the arrays: the length of a JSON text, and that text."""
    entries: dict[str, Any] = {"__metadata__": {CARD: json.dumps(card, sort_keys=True)}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype.str.removeprefix("|").replace("b1", "?")]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _view(data: np.ndarray, entry: Mapping[str, Any], mapped: bool) -> np.ndarray:
    begin, end = entry["data_offsets"]
    if end > data.size:
        raise ValueError(f"{end} bytes announced, {data.size} present")
    raw = data[begin:end] if mapped else _aligned(data[begin:end])
    return raw.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _aligned(raw: np.ndarray) -> np.ndarray:
    """A copy that begins where torch's own memory would.

    The oneMKL guide promises equal bits from run to run for arrays at multiples of 64 bytes only, and its kernels for SSE
    do give others at multiples of 8. numpy's own memory lies at multiples of 16.
    """
    import numpy as np

    room = np.empty(raw.size + _ALIGNMENT, dtype=np.uint8)
    begin = -room.ctypes.data % _ALIGNMENT
    copy = room[begin : begin + raw.size]
    copy[:] = raw
    return copy


def _digest(card: Mapping[str, Any], arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> memoryview | bytes:
    """A contiguous array as it lies in memory, not copied."""
    return array.reshape(-1).view("u1").data if array.size else b""
