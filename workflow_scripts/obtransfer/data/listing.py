"""Which files below a folder are images, and which are left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from obtransfer.errors import ObtransferError

ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp",
)  # fmt: skip
_OF_SYSTEMS = frozenset({"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found"})
Identity = tuple[int, int]


def folders(path: Path) -> list[str]:
    """Names of the folders in a folder, and of links to folders, without hidden ones and those of operating systems.

    Raises:
        ObtransferError: the folder can't be read.
    """
    return [entry.name for entry in _entries(path) if entry.is_dir() and not _is_skipped(entry.name)]


def images_in(path: Path) -> list[str]:
    """Names of the images in a folder itself, sorted."""
    return [entry.name for entry in _entries(path) if not entry.is_dir() and _is_image(entry.name)]


def images_below(folder: Path, left_out: Counter[str]) -> list[str]:
    """Paths of the images at any depth. Links to folders are followed, each folder once, and never out of a loop.

    Args:
        folder: where to look; one that is not there has no images.
        left_out: reason to number of files (or folders); what is left out here is added.

    Raises:
        ObtransferError: a folder can't be read.
    """
    if not folder.is_dir():
        return []
    seen = {_identity(parent) for parent in folder.resolve().parents}
    found: list[str] = []
    pending = [os.fspath(folder)]
    while pending:
        here = pending.pop()
        if _identity(here) in seen:
            left_out["links to folders that are listed already"] += 1
            continue
        seen.add(_identity(here))
        inside = _entries(here)
        pending += reversed(
            [entry.path for entry in inside if entry.is_dir() and not _is_skipped(entry.name)]
        )
        for entry in inside:
            if entry.is_dir():
                if _is_skipped(entry.name):
                    left_out[f"files in folders called {entry.name}"] += _count(entry.path)
            elif _is_image(entry.name):
                found.append(entry.path)
            else:
                left_out[_kind(entry.name)] += 1
    return found


def in_words(left_out: Iterable[tuple[str, int]]) -> str:
    """``2 hidden files, 3 files that end in .txt``."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out)


def _entries(path: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
            for entry in found:
                entry.is_dir()
            return found
    except OSError as error:
        raise ObtransferError(f"{error.filename or path} can't be read: {error.strerror}") from error


def _identity(path: Path | str) -> Identity:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def _kind(name: str) -> str:
    ending = os.path.splitext(name)[1].lower()
    if name.startswith("."):
        return "hidden files"
    return f"files that end in {ending}" if ending else "files without an ending"


def _count(folder: str) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))
