"""Artefacts: files that are either whole and unaltered, or not there.

Every file a step writes goes to a hidden neighbour first, is flushed to the disk and then renamed, so that a reader
never sees half of it. Every file carries a SHA-256 of its content, which reading verifies. An artefact is a pure
function of its inputs, settings and code (times and hosts live in the logs), so equal runs give equal bytes.

Tensors are safetensors files; tables are CSV files whose first line is a ``#`` comment with the card.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 1
_CARD = "obtransfer"
_ALIGNMENT = 64  # bytes


@dataclass(frozen=True)
class Artifact:
    """Named arrays with the metadata they were written with; `digest` is the SHA-256 of both."""

    tensors: dict[str, np.ndarray]
    metadata: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Table:
    """Rows of text with the metadata they were written with; `digest` is the SHA-256 of both."""

    rows: list[dict[str, str]]
    metadata: dict[str, Any]
    digest: str


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path next to `path`; on success flush and rename it, on an exception remove it.

    Raises:
        ObtransferError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    partial = path.with_name(f".{path.name}.{os.uname().nodename}-{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise ObtransferError(
                f"no space left on the disk while writing {path}; free some and run the same command again: "
                "nothing that was finished is lost"
            ) from error
        raise


def write_tensors(
    path: Path | str,
    tensors: Mapping[str, np.ndarray],
    *,
    kind: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays and metadata as one checksummed safetensors file, atomically.

    Arrays go to the file one by one, so those that are mapped from other files never are in memory together.

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
    card = _card(kind, metadata or {})
    card["digest"] = _tensor_digest(card, arrays)
    with atomic_path(path) as partial, open(partial, "wb") as stream:
        stream.write(_header(card, arrays))
        for array in arrays.values():
            array.tofile(stream)


def read_tensors(path: Path | str, *, kind: str) -> Artifact:
    """Read and verify what `write_tensors` wrote.

    Raises:
        ObtransferError: missing, of another kind, truncated or altered; names the file and how to remake it.
    """
    return _open_tensors(Path(path), kind, mapped=False)


def map_tensors(path: Path | str, *, kind: str) -> Artifact:
    """As `read_tensors`, with read-only arrays mapped from the file: pages are shared between processes."""
    return _open_tensors(Path(path), kind, mapped=True)


def write_table(
    path: Path | str,
    rows: Sequence[Mapping[str, Any]],
    *,
    kind: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write rows as CSV below a one-line comment with the checksummed card, atomically.

    Columns are the keys of the first row. `pandas.read_csv(path, comment="#")` reads it too.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    body = text.getvalue()
    card = _card(kind, metadata or {})
    card["digest"] = _text_digest(card, body)
    with atomic_path(path) as partial:
        partial.write_text(f"# {json.dumps(card, sort_keys=True)}\n{body}", encoding="utf-8")


def read_table(path: Path | str, *, kind: str) -> Table:
    """Read and verify what `write_table` wrote.

    Raises:
        ObtransferError: missing, of another kind, truncated or altered; names the file and how to remake it.
    """
    path = Path(path)
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        card = json.loads(head.removeprefix("# "))
        expected = card.pop("digest")
        found = _text_digest(card, body)
    except FileNotFoundError:
        raise _missing(path, kind) from None
    except (ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, f"its card can't be read ({error})") from error
    _check(path, card, kind, expected, found)
    return Table(list(csv.DictReader(io.StringIO(body))), card["metadata"], expected)


def stored_digest(path: Path | str) -> str:
    """The digest an artefact claims, from its header alone; its content is not verified."""
    path = Path(path)
    with open(path, "rb") as stream:
        first = stream.read(8)
        if first[:1] == b"#":
            return json.loads((first + stream.readline()).decode().removeprefix("# "))["digest"]
        header = json.loads(stream.read(struct.unpack("<Q", first)[0]))
    return json.loads(header["__metadata__"][_CARD])["digest"]


def check_finite(tensors: Mapping[str, np.ndarray], what: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        ObtransferError: names every tensor that has some, and how many.
    """
    import numpy as np

    bad = {name: int(array.size - np.isfinite(array).sum()) for name, array in tensors.items()}
    named = [f"{name}: {count} of {tensors[name].size}" for name, count in bad.items() if count]
    if named:
        raise ObtransferError(f"{what} must be finite, but NaN or infinity was found in {'; '.join(named)}")


def _remove_abandoned(path: Path) -> None:
    """Drop what killed writers of the same file on this machine have left."""
    for partial in path.parent.glob(f".{path.name}.{os.uname().nodename}-*.partial"):
        if not Path("/proc", partial.name.removesuffix(".partial").rpartition("-")[2]).exists():
            partial.unlink(missing_ok=True)


def _open_tensors(path: Path, kind: str, *, mapped: bool) -> Artifact:
    import numpy as np

    if not path.is_file():
        raise _missing(path, kind)
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
        size = struct.unpack("<Q", content[:8].tobytes())[0]
        header = json.loads(content[8 : 8 + size].tobytes())
        card = json.loads(header.pop("__metadata__")[_CARD])
        expected = card.pop("digest")
        data = content[8 + size :]
        arrays = {name: _view(data, entry, mapped) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise _damaged(path, f"its header can't be read ({type(error).__name__}: {error})") from error
    _check(path, card, kind, expected, _tensor_digest(card, arrays))
    return Artifact(arrays, card["metadata"], expected)


_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def _header(card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """What the safetensors format puts before the arrays: the length of a JSON text, and that text."""
    entries: dict[str, Any] = {"__metadata__": {_CARD: json.dumps(card, sort_keys=True)}}
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


def _card(kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"schema": SCHEMA_VERSION, "kind": kind, "metadata": json.loads(json.dumps(dict(metadata)))}


def _tensor_digest(card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.reshape(-1).view("u1").data if array.size else b"")
    return digest.hexdigest()


def _text_digest(card: Mapping[str, Any], body: str) -> str:
    return hashlib.sha256((json.dumps(card, sort_keys=True) + body).encode()).hexdigest()


def _check(path: Path, card: Mapping[str, Any], kind: str, expected: str, found: str) -> None:
    if found != expected:
        raise _damaged(path, f"its checksum should be {expected[:12]}…, but its content gives {found[:12]}…")
    if card["schema"] != SCHEMA_VERSION:
        raise _damaged(path, f"it has schema {card['schema']}, this version reads {SCHEMA_VERSION}")
    if card["kind"] != kind:
        raise ObtransferError(f"{path} holds a {card['kind']!r} artefact where a {kind!r} was needed")


def _missing(path: Path, kind: str) -> ObtransferError:
    return ObtransferError(
        f"{path} ({kind}) does not exist; make it with: snakemake --cores 2 {_shown(path)}"
    )


def _damaged(path: Path, why: str) -> ObtransferError:
    return ObtransferError(
        f"{path} is damaged: {why}. Remake it with: snakemake --cores 2 --force {_shown(path)}, then run again"
    )


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
