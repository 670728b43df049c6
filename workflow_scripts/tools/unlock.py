"""Remove the lock that a killed Snakemake left in this folder, but never the lock of a running one."""

from __future__ import annotations

import os
from pathlib import Path


def unlock(folder: Path) -> None:
    """Remove `folder`'s Snakemake locks unless a Snakemake process works in it (on Linux, where that can be seen)."""
    locks = list((folder / ".snakemake" / "locks").glob("*"))
    if not locks or not Path("/proc/self").exists() or _runs_in(folder):
        return
    for lock in locks:
        lock.unlink(missing_ok=True)
    print("An earlier run was killed. This one continues where it stopped.")


def _runs_in(folder: Path) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            here = (process / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        if (
            here
            and b"snakemake" in command
            and int(process.name) != os.getpid()
            and b"unlock.py" not in command
        ):
            return True
    return False


if __name__ == "__main__":
    unlock(Path.cwd())
