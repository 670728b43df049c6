"""Fetches a file, whole and verified or not at all; goes on where an interrupted attempt stopped."""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from obtransfer.errors import ObtransferError

_CHUNK = 1 << 20
_TIMEOUT_S = 60


def fetch(address: str, sha256: str | None, destination: Path, *, root: Path = Path()) -> None:
    """Copies what the address names to `destination`.

    The bytes go to `<destination>.part`, which a later call goes on with; a verified file is flushed to the disk and
    renamed. A destination that is there already and has the right checksum is left alone.

    Args:
        address: `file:<path>`, relative to `root` unless absolute, or `http://…`, `https://…`.
        sha256: expected checksum, in hexadecimal; None accepts anything.
        destination: file to write; its folder is made.
        root: what relative `file:` addresses start from: the root of the repository.

    Raises:
        ObtransferError: no such scheme or file, the network failed, or the checksum is wrong (the partial file is
            then removed).
    """
    if sha256 is not None and destination.is_file() and _checksum(destination) == sha256.lower():
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(destination.name + ".part")
    if address.startswith("file:"):
        _copy(_local_path(address, root), partial, address)
    elif address.startswith(("http://", "https://")):
        _download(address, partial)
    else:
        raise ObtransferError(f"address {address!r} must start with file:, http:// or https://")
    _verify(partial, sha256, address)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(destination)


def _local_path(address: str, root: Path) -> Path:
    path = unquote(address.removeprefix("file:"))
    return root / (path[2:] if path.startswith("///") else path)


def _copy(source: Path, partial: Path, address: str) -> None:
    """Copies a local file, going on at the end of what is there."""
    if not source.is_file():
        raise ObtransferError(f"{address}: there is no file {source}; restore it, or correct the address")
    start = _size(partial)
    if start > source.stat().st_size:
        start = 0
    with source.open("rb") as stream:
        stream.seek(start)
        _append(stream, partial, start)


def _download(address: str, partial: Path) -> None:
    """Asks for what is missing; a server that can't send parts sends everything, and the file starts anew."""
    start = _size(partial)
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with closing(urllib.request.urlopen(request, timeout=_TIMEOUT_S)) as response:
            resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(
                f"bytes {start}-"
            )
            expected = response.headers.get("Content-Length")
            received = _append(response, partial, start if resumed else 0)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise ObtransferError(
                f"{address}: the server answered {error.code} {error.reason}; check it"
            ) from error
        if (
            error.headers.get("Content-Range") != f"bytes */{start}"
        ):  # what is there is not the beginning of the file
            partial.unlink()
            _download(address, partial)
        return
    except (OSError, HTTPException) as error:
        raise _interrupted(address, partial, f"{type(error).__name__}: {error}") from error
    if expected is not None and received < int(expected):
        raise _interrupted(address, partial, f"the connection ended after {received} of {expected} bytes")


def _append(stream: BinaryIO, partial: Path, start: int) -> int:
    """Writes the stream into the partial file from byte `start` on; returns the bytes received."""
    received = 0
    with partial.open("r+b" if partial.exists() else "wb") as target:
        target.truncate(start)
        target.seek(start)
        for chunk in _chunks(stream):
            target.write(chunk)
            received += len(chunk)
    return received


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _verify(partial: Path, sha256: str | None, address: str) -> None:
    if sha256 is None:
        return
    found = _checksum(partial)
    if found != sha256.lower():
        size = _size(partial)
        partial.unlink()
        raise ObtransferError(
            f"{address}: the SHA-256 should be {sha256.lower()}, but the {size} bytes received have {found}. "
            f"The partial file was removed: try again; if it stays wrong, the file has changed at its source, so "
            f"check it and correct the checksum in obtransfer/registry.py"
        )


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _interrupted(address: str, partial: Path, why: str) -> ObtransferError:
    return ObtransferError(
        f"{address}: {why}. {_size(partial)} bytes are kept in {partial}: run the same command again to go on from there"
    )
