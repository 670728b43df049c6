"""The outcome file, in which a job records its own start and end."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The part that decisions need: `exit_code` is None while the job runs, and after it was killed."""

    exit_code: int | None = None
    host: str = ""


def read_all(path: str | Path) -> dict[str, Any]:
    """Everything the job wrote about itself; empty if the file is missing or unreadable."""
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read(path: str | Path) -> Outcome:
    """The part that decisions need."""
    found = read_all(path)
    return Outcome(found.get("exit_code"), str(found.get("host", "")))


def write(path: str | Path, outcome: dict[str, Any]) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    temporary = Path(f"{path}.{os.getpid()}")
    temporary.write_text(json.dumps(outcome))
    temporary.replace(path)
