"""Downloads one file over HTTP: resumes where it stopped, tries again with growing pauses, and reports all of it.

By hand on `urllib`, which does none of this; `obtransfer.models.download` says what other libraries lack.
"""

from __future__ import annotations

import errno
import json
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any

from obtransfer.errors import ObtransferError
from obtransfer.runtime.progress import bar

STALL_S = 60.0
"""A connection without a byte for this long counts as cut."""
ATTEMPTS = 6
"""In a row without progress; then the download fails."""
LONGEST_PAUSE_S = 60.0

_CHUNK = 1 << 18
_MB = 1_000_000
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_THERE = frozenset({401, 403, 404, 410})
_LINKED = "X-Linked-Etag"  # in which a hub's redirection gives the SHA-256 of the file


class NotThereError(ObtransferError):
    """The address has no such file, or none for us. Another address may have it."""


class _PassingError(Exception):
    """A failure that may pass. `pause`: what the server asks for, in seconds."""

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause


@dataclass
class _Answer:
    """`sha256`: from the server, or ""."""

    sha256: str = ""


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections, and keeps the checksum that the first one may carry."""

    def __init__(self, answer: _Answer) -> None:
        self.answer = answer

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        headers: HTTPMessage = arguments[4]
        linked = re.fullmatch(r'"?([0-9a-f]{64})"?', headers.get(_LINKED, ""))
        if linked:
            self.answer.sha256 = linked[1]
        return super().redirect_request(*arguments)


def download(address: str, partial: Path, *, checked: bool) -> str:
    """Complete `partial` with what the address holds.

    Bytes that are there already are kept only if they belong to the same file: the server confirms its ETag or date, or a
    checksum follows (`checked`). After a failure that may pass (no connection, no bytes for `STALL_S`, a cut, a busy
    server) the next attempt continues from there, after 1, 2, 4 ... seconds. `ATTEMPTS` in a row without a new byte fail.

    Args:
        address: ``http://…`` or ``https://…``.
        partial: the file to write.
        checked: whether the caller knows a checksum of the whole file.

    Returns:
        The SHA-256 that the server gives on the way, or "".

    Raises:
        NotThereError: the server says so.
        ObtransferError: it stays unreachable, or the disk is full; the bytes received are kept.
    """
    failures = 0
    while True:
        before = size(partial)
        try:
            return _attempt(address, partial, checked).sha256
        except _PassingError as error:
            failures = 1 if size(partial) > before else failures + 1
            if failures >= ATTEMPTS:
                raise ObtransferError(
                    f"{address}: {error}, in {ATTEMPTS} attempts; {size(partial)} bytes are kept in {partial}; run the "
                    "same command again to continue from there"
                ) from error
            pause = min(LONGEST_PAUSE_S, max(error.pause, 2.0 ** (failures - 1)))
            print(f"{address}: {error}; again in {pause:g} s ({failures} of {ATTEMPTS})", file=sys.stderr)
            time.sleep(pause)


def size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def forget(partial: Path) -> None:
    """Remove a partial file and the note of its origin."""
    partial.unlink(missing_ok=True)
    _origin(partial).unlink(missing_ok=True)


def _attempt(address: str, partial: Path, checked: bool) -> _Answer:
    answer = _Answer()
    request = urllib.request.Request(address, headers=_headers(address, partial, checked))
    opener = urllib.request.build_opener(_Redirections(answer))
    try:
        with closing(opener.open(request, timeout=STALL_S)) as response:
            _receive(response, address, partial)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{size(partial)}":
            return answer  # it was whole already
        raise _meaning(address, partial, error) from error
    except (OSError, HTTPException) as error:
        _raise_if_permanent(address, error)
        raise _PassingError(f"{type(error).__name__}: {error}") from error
    return answer


def _headers(address: str, partial: Path, checked: bool) -> dict[str, str]:
    """The headers of the request. A partial file of uncertain origin is removed."""
    headers = {"User-Agent": "obtransfer", "Accept-Encoding": "identity"}
    start, known = size(partial), _read_origin(partial)
    same = known.get("address") == address and known.get("validator")
    if start and not same and not checked:
        forget(partial)
    elif start:
        headers["Range"] = f"bytes={start}-"
        if same:
            headers["If-Range"] = known["validator"]
    return headers


def _receive(response: Any, address: str, partial: Path) -> None:
    start, total = 0, _whole(response.headers.get("Content-Length"))
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != size(partial):
            forget(partial)
            raise _PassingError("the server sent another part than requested")
        start, total = int(span[1]), _whole(span[2])
    else:
        validator = response.headers.get("ETag", "")
        validator = response.headers.get("Last-Modified", "") if validator[:2] in ("", "W/") else validator
        _origin(partial).write_text(
            json.dumps({"address": address, "validator": validator}), encoding="utf-8"
        )
    name = address.rpartition("/")[2].partition("?")[0]
    amount = "of unknown size" if total is None else f"{total / _MB:.1f} MB"
    print(f"{address}: {amount}{f', from byte {start} on' if start else ''}", file=sys.stderr)
    with bar(-(-(total or 0) // _MB), f"MB of {name}") as report:
        _append(response, partial, start, report)
    if total is not None and size(partial) < total:
        raise _PassingError(f"the connection ended after {size(partial)} of {total} bytes")


def _append(response: Any, partial: Path, start: int, report: Callable[..., None]) -> None:
    with partial.open("r+b" if partial.exists() else "wb") as target:
        target.truncate(start)
        target.seek(start)
        while chunk := response.read1(_CHUNK):
            target.write(chunk)
            start += len(chunk)
            report(-(-start // _MB))


def _meaning(address: str, partial: Path, error: urllib.error.HTTPError) -> Exception:
    """The error that a status stands for."""
    answer = f"the server answered {error.code} {error.reason}"
    if error.code in _PASSING:
        pause = error.headers.get("Retry-After", "")
        return _PassingError(answer, float(pause) if pause.isdigit() else 0.0)
    if error.code == 416:  # the partial file is not the beginning of this one
        forget(partial)
        return _PassingError("the file is shorter than the part received before")
    if error.code in _NOT_THERE:
        hint = "; is a login needed?" if error.code in (401, 403) else ""
        return NotThereError(f"{address}: {answer}{hint}")
    return ObtransferError(f"{address}: {answer}; check the address")


def _raise_if_permanent(address: str, error: Exception) -> None:
    """Raise for failures that another attempt does not end."""
    reason = getattr(error, "reason", error)
    if getattr(error, "errno", None) == errno.ENOSPC:
        raise ObtransferError(
            f"no space left on the disk while fetching {address}; free some and run the same command again"
        ) from error
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise ObtransferError(
            f"{address}: its certificate is not trusted ({reason}); behind a proxy, SSL_CERT_FILE names its certificates"
        ) from error


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _origin(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.from")


def _read_origin(partial: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(_origin(partial).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known
