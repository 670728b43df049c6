"""Fetches a file of weights, complete and verified or not at all: from a mirror, the disk or its publisher.

By hand: `torch.hub.download_url_to_file` neither resumes nor tries again and knows one checksum, and `huggingface_hub` only
fetches from hubs. Both leave no way to look in a mirror first.
"""

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
_LOCK = "the lock file "
_DIGITS_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z.]+$")


@dataclass(frozen=True)
class Fetching:
    """How weights are fetched: what `weights` of the configuration says.

    Attributes:
        mirror: a folder, or the beginning of URLs, that is searched first; "" for none.
        offline: whether no connection may be opened.
        locks: lock files, all of which are read.
    """

    mirror: str = ""
    offline: bool = False
    locks: tuple[Path, ...] = ()


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
        addresses: files that will do, the best first: their names in the lock file to `http://…`, `https://…`, a path, or
            `file:<path>` with %-escapes. Relative paths start at the working folder.
        destination: file to write; its folder is made.
        how: mirror, offline and lock files.
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
        wanted |= {f"{_LOCK}{lock}": locked(lock, place.name) for lock in how.locks}
        wanted = {who: checksum for who, checksum in wanted.items() if checksum}
        try:
            return _fetch_from(place, destination, wanted)
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
    folder = _local(mirror)
    short = name.removeprefix("hub:") if name.startswith("hub:") else Path(unquote(parts.path)).name
    return [str(folder / short), str(folder / unquote(path))]


def _local(address: str) -> Path:
    """The path that an address is. ``file:`` makes it a URL, in which %20 is a space; in a plain path % is %."""
    if not address.startswith("file:"):
        return Path(address)
    path = unquote(address.removeprefix("file:"))
    return Path(path[2:] if path.startswith("///") else path)


def _wanted(address: str, checksums: Mapping[str, str], digits_in_name: bool) -> dict[str, str]:
    """Who gives a checksum -> its first digits."""
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    digits = _DIGITS_IN_NAME.search(name) if digits_in_name else None
    return {
        "the registry or the configuration": checksums.get("", ""),
        "its publisher": checksums.get(name, ""),
        "its name": digits[1] if digits else "",
    }


def _fetch_from(place: _Place, destination: Path, wanted: Mapping[str, str]) -> Fetched:
    if wanted and destination.is_file() and not _wrong(destination, wanted):
        return _fetched(place, destination)
    partial = destination.with_name(destination.name + ".part")
    begun = size(partial) > 0
    _bring(place, partial, checked=bool(wanted))
    if begun and _wrong(partial, wanted):  # an earlier run may have left the beginning of another file
        forget(partial)
        _bring(place, partial, checked=bool(wanted))
    found = _wrong(partial, wanted)
    if found:
        came = size(partial)
        forget(partial)
        raise WrongFileError(_mismatch(place, found, came))
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(destination)
    forget(partial)
    return _fetched(place, destination)


def _bring(place: _Place, partial: Path, *, checked: bool) -> None:
    if place.address.startswith(_HTTP):
        announced = download(place.address, partial, checked=checked)
        if announced and _digest(partial, "sha256") != announced:
            forget(partial)
            raise ObtransferError(
                f"{place.address}: needed the file that the server announced (SHA-256 {announced}); got another; its partial "
                "file was removed; run the same command again"
            )
        return
    source = _local(place.address)
    if not source.is_file():
        scheme = "; a URL begins with http:// or https://" if "://" in place.address else ""
        raise NotThereError(
            f"{place.address}: there is no file {source}; restore it, or correct the address{scheme}"
        )
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


def _mismatch(place: _Place, found: list[tuple[str, str, str]], came: int) -> str:
    sums = "; ".join(
        f"by {who} the checksum should begin with {wanted}, but the {came} bytes received have {digest}"
        for who, wanted, digest in found
    )
    text = f"{place.address}: {sums}. The partial file was removed: try again; if it stays wrong, "
    locks = [who.removeprefix(_LOCK) for who, _, _ in found if who.startswith(_LOCK)]
    if locks:
        return text + (
            "the file has changed since its first download: use it only if its publisher says so; then remove "
            f"{place.name!r} from {locks[0]}"
        )
    return text + "the file has changed at its source, so check it and correct the checksum"


def _nowhere(addresses: Mapping[str, str], how: Fetching, failures: list[str]) -> str:
    text = "\n  ".join([f"none of the files {', '.join(addresses)} was found:", *failures])
    if how.offline:
        name, address = next(iter(addresses.items()))
        folder = how.mirror if how.mirror and not how.mirror.startswith(_HTTP) else "FOLDER"
        text += (
            f"\n  weights.offline is true, so no connection was opened; on a machine that has one, fetch {address}, "
            f"and put it here as {_mirrored(name, address, folder)[0]} (weights.mirror: {folder})"
        )
    return text


def _fetched(place: _Place, path: Path) -> Fetched:
    return Fetched(place.name, _digest(path, "sha256"), size(path))


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()
