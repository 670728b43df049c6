"""Files that are whole or absent, and the errors for missing and damaged ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from obtransfer.errors import ObtransferError


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


def missing(path: Path, kind: str) -> ObtransferError:
    """The error for a file that is not there."""
    return ObtransferError(
        f"{path} ({kind}) does not exist; make it with: snakemake --cores 2 {_shown(path)}"
    )


def damaged(path: Path, why: str) -> ObtransferError:
    """The error for a file that is truncated or altered."""
    return ObtransferError(
        f"{path} is damaged: {why}. Remake it with: snakemake --cores 2 --force {_shown(path)}, then run again"
    )


def _remove_abandoned(path: Path) -> None:
    """Drop what killed writers of the same file on this machine have left."""
    for partial in path.parent.glob(f".{path.name}.{os.uname().nodename}-*.partial"):
        if not Path("/proc", partial.name.removesuffix(".partial").rpartition("-")[2]).exists():
            partial.unlink(missing_ok=True)


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
