"""The lock file: checksums of files whose publisher gives none, from the first time they were fetched."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from obtransfer.artifacts import atomic_path
from obtransfer.errors import ObtransferError
from obtransfer.models.formats.base import REPOSITORY

SHIPPED = REPOSITORY / "resources" / "weights.lock.yaml"
_HEAD = """\
# SHA-256 of weights whose publisher gives none, as first fetched. Every later download must be the same file. Commit this
# file; remove an entry only where its publisher says that the file has changed.
"""


def lock_files(configured: str | None, folder: Path) -> tuple[Path, ...]:
    """The lock files of a run; new checksums are recorded in the last one.

    Args:
        configured: `weights.lock` of the configuration: the only one, where it is set.
        folder: where a checkout that can't be written has its new checksums: the folder of the fetched weights.
    """
    if configured:
        return (Path(configured),)
    writable = os.access(SHIPPED if SHIPPED.exists() else SHIPPED.parent, os.W_OK)
    return (SHIPPED,) if writable else (SHIPPED, folder / SHIPPED.name)


def locked(path: Path, name: str) -> str:
    """The SHA-256 that was recorded for a file, or "".

    Args:
        path: the lock file; it need not exist.
        name: what the source calls the file.

    Raises:
        ObtransferError: the lock file can't be read.
    """
    return str(_read(path).get(name, {}).get("sha256", ""))


def record(path: Path, name: str, sha256: str, num_bytes: int) -> None:
    """Add a file, unless it is there already; other processes may do so at the same time.

    Args:
        path: the lock file; it and its folder are made.
        name: what the source calls the file.
        sha256: of the whole file, in hexadecimal.
        num_bytes: its size.

    Raises:
        ObtransferError: the lock file can't be read.
    """
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        entries = _read(path)
        if name in entries:
            return
        entries[name] = {"sha256": sha256, "bytes": num_bytes}
        with atomic_path(path) as partial:
            partial.write_text(_HEAD + yaml.safe_dump(entries, sort_keys=True, width=1000), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error).replace("\n", " ")) from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise _damaged(path, "it is not a mapping of files to checksums")
    return entries


def _damaged(path: Path, why: str) -> ObtransferError:
    return ObtransferError(
        f"the lock file {path} can't be read: {why}; restore it (git checkout {path}) or correct it"
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
