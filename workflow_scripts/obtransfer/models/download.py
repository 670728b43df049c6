"""Fetches a file of weights, whole and verified or not at all: from a mirror, the disk or its publisher."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from obtransfer.errors import ObtransferError
from obtransfer.models.transfer import NotThereError, download, forget, size
from obtransfer.models.weights_lock import locked

_HTTP = ("http://", "https://")
_DIGITS_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z.]+$")


@dataclass(frozen=True)
class Fetching:
    """How weights are fetched: what `weights` of the configuration says.

    `mirror`: a folder or the beginning of addresses where files are looked for first; `offline`: no connection is ever
    opened; `lock`: the lock file.
    """

    mirror: str = ""
    offline: bool = False
    lock: Path = Path("resources/weights.lock.yaml")


def fetching(mirror: str = "", offline: bool = False, lock: str = "") -> Fetching:
    """From the configuration's `weights`, all of whose keys may be missing."""
    return Fetching(mirror, offline, Path(lock) if lock else Fetching.lock)


@dataclass(frozen=True)
class Fetched:
    """A file that came: the name the source gives it, and what it is."""

    name: str
    sha256: str
    num_bytes: int


class WrongFileError(ObtransferError):
    """What came has another checksum than it should."""


@dataclass(frozen=True)
class _Place:
    """Where a file may be; `mirrored`: not at its publisher's."""

    name: str
    address: str
    mirrored: bool


def fetch(
    addresses: Mapping[str, str],
    destination: Path,
    how: Fetching,
    *,
    checksums: Mapping[str, str] | None = None,
    digits_in_name: bool = False,
) -> Fetched:
    """Copy the first of the files that exists to `destination`.

    The bytes go to `<destination>.part`, which a later call goes on with; a verified file is flushed to the disk and
    renamed. A destination that is there already is taken if its checksum is known and right.

    Args:
        addresses: names of files that will do, the best first -> `file:<path>` (relative to the working folder unless
            absolute), `http://…` or `https://…`.
        destination: file to write; its folder is made.
        how: mirror, offline and lock file.
        checksums: what the publisher says, by the last part of the address or "" for any: the first digits of a
            checksum in hexadecimal, as ``0676ba61`` (SHA-256) or ``md5:a04e12f8``.
        digits_in_name: whether the publisher puts the first digits of the SHA-256 into the file's name, before its end.

    Raises:
        ObtransferError: none of the files can be had, or one has the wrong checksum (the partial file is then removed).
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    for place in _places(addresses, how):
        wanted = _wanted(addresses[place.name], checksums or {}, digits_in_name)
        wanted["the lock file"] = locked(how.lock, place.name)
        wanted = {who: checksum for who, checksum in wanted.items() if checksum}
        try:
            return _fetch_from(place, destination, wanted, how)
        except ObtransferError as error:
            elsewhere = isinstance(error, NotThereError) or place.mirrored
            if isinstance(error, WrongFileError) or not elsewhere:
                raise
            failures.append(str(error))
    raise ObtransferError(_nowhere(addresses, how, failures))


def _places(addresses: Mapping[str, str], how: Fetching) -> Iterator[_Place]:
    """All that the mirror may have, then the publisher's."""
    remote = {name: address for name, address in addresses.items() if address.startswith(_HTTP)}
    if how.mirror and not (how.offline and how.mirror.startswith(_HTTP)):
        for name, address in remote.items():
            for place in _mirrored(name, address, how.mirror):
                yield _Place(name, place, mirrored=True)
    for name, address in addresses.items():
        if not (how.offline and name in remote):
            yield _Place(name, address, mirrored=False)


def _mirrored(name: str, address: str, mirror: str) -> list[str]:
    """host/path, as `wget -x` files it; in a folder also under the model's name on the hub, or the file's own."""
    parts = urlsplit(address)
    path = f"{parts.netloc}{parts.path}"
    if mirror.startswith(_HTTP):
        return [f"{mirror.rstrip('/')}/{path}"]
    folder = Path(mirror.removeprefix("file:"))
    short = name.removeprefix("hub:") if name.startswith("hub:") else Path(unquote(parts.path)).name
    return [f"file:{folder / short}", f"file:{folder / unquote(path)}"]


def _wanted(address: str, checksums: Mapping[str, str], digits_in_name: bool) -> dict[str, str]:
    """Who gives a checksum -> its first digits."""
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    digits = _DIGITS_IN_NAME.search(name) if digits_in_name else None
    return {
        "the registry or the configuration": checksums.get("", ""),
        "its publisher": checksums.get(name, ""),
        "its name": digits[1] if digits else "",
    }


def _fetch_from(place: _Place, destination: Path, wanted: Mapping[str, str], how: Fetching) -> Fetched:
    if wanted and destination.is_file() and not _wrong(destination, wanted):
        return _fetched(place, destination)
    partial = destination.with_name(destination.name + ".part")
    begun = size(partial) > 0
    _bring(place, partial, dict(wanted), how)
    if begun and _wrong(partial, wanted):  # what an earlier run left may have been of another file
        forget(partial)
        _bring(place, partial, dict(wanted), how)
    found = _wrong(partial, wanted)
    if found:
        came = size(partial)
        forget(partial)
        raise WrongFileError(_mismatch(place, found, came, how))
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(destination)
    forget(partial)
    return _fetched(place, destination)


def _bring(place: _Place, partial: Path, wanted: dict[str, str], how: Fetching) -> None:
    if place.address.startswith("file:"):
        _copy(place.address, partial)
    elif place.address.startswith(_HTTP):
        told = download(place.address, partial, checked=bool(wanted))
        if told and _digest(partial, "sha256") != told:
            forget(partial)
            raise ObtransferError(
                f"{place.address}: what came is not what the server announced (SHA-256 {told}); the partial file was "
                "removed: try again"
            )
    else:
        raise ObtransferError(f"address {place.address!r} must start with file:, http:// or https://")


def _copy(address: str, partial: Path) -> None:
    path = unquote(address.removeprefix("file:"))
    source = Path(path[2:] if path.startswith("///") else path)
    if not source.is_file():
        raise NotThereError(f"{address}: there is no file {source}; restore it, or correct the address")
    shutil.copyfile(source, partial)


def _wrong(path: Path, wanted: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Who wants another checksum: who, what is wanted, what there is."""
    found = []
    for who, checksum in wanted.items():
        algorithm, _, digits = checksum.rpartition(":")
        digest = _digest(path, algorithm or "sha256")
        if not digest.startswith(digits.lower()):
            found.append((who, checksum.lower(), digest))
    return found


def _mismatch(place: _Place, found: list[tuple[str, str, str]], came: int, how: Fetching) -> str:
    told = "; ".join(
        f"by {who} the checksum should begin with {wanted}, but the {came} bytes received have {digest}"
        for who, wanted, digest in found
    )
    text = f"{place.address}: {told}. The partial file was removed: try again; if it stays wrong, "
    if any(who == "the lock file" for who, _, _ in found):
        return text + (
            f"the file has changed since its first download: do not use it unless its publisher says so; then remove "
            f"{place.name!r} from {how.lock}"
        )
    return text + "the file has changed at its source, so check it and correct the checksum"


def _nowhere(addresses: Mapping[str, str], how: Fetching, failures: list[str]) -> str:
    text = "\n  ".join([f"none of the files {', '.join(addresses)} can be had:", *failures])
    if how.offline:
        name, address = next(iter(addresses.items()))
        folder = how.mirror if how.mirror and not how.mirror.startswith(_HTTP) else "FOLDER"
        target = _mirrored(name, address, folder)[0].removeprefix("file:")
        text += (
            f"\n  weights.offline is true, so that no connection was opened; on a machine that has one, fetch {address}, "
            f"and put it here as {target} (weights.mirror: {folder})"
        )
    return text


def _fetched(place: _Place, path: Path) -> Fetched:
    return Fetched(place.name, _digest(path, "sha256"), size(path))


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()
