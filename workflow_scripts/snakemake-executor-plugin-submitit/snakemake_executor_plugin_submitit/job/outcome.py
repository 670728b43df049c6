"""The small file in which a job records its own start and end; only the standard library, because jobs import it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trace:
    """What decisions need of it: `exit_code` is None while the job runs or after it was killed."""

    exit_code: int | None = None
    host: str = ""


def read_dict(path: str | Path) -> dict[str, Any]:
    """Everything a job wrote about itself, empty if nothing readable."""
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read(path: str | Path) -> Trace:
    """The part of it that decisions need."""
    found = read_dict(path)
    return Trace(found.get("exit_code"), str(found.get("host", "")))


def write(path: str | Path, record: dict[str, Any]) -> None:
    """Replace the file in one step: a reader never sees half of it."""
    temporary = Path(f"{path}.{os.getpid()}")
    temporary.write_text(json.dumps(record))
    temporary.replace(path)
