"""What a job's result depends on, in one hash: a job that started before a change must not be adopted."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..workarounds import recorded, script_path

_SMALL = 1 << 20


def digest(parts: Any) -> str:
    """A short hash of anything that JSON can write (sets sorted, the rest by `str`)."""
    text = json.dumps(
        parts, sort_keys=True, default=lambda value: sorted(value) if isinstance(value, set) else str(value)
    )
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:24]


def file_state(path: str) -> list[Any]:
    """A file's identity: its content below 1 MB (a touch alone is no change), else its size and time stamp."""
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode) and found.st_size < _SMALL:
            return [path, _content(path, found.st_size, found.st_mtime_ns)]
        return [path, found.st_size, found.st_mtime_ns]
    except OSError:
        return [path, None]


@functools.lru_cache(maxsize=20_000)
def _content(path: str, size: int, mtime_ns: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def job_key(job: Any) -> str:
    """Names a job across runs by its rules, wildcards and outputs, because Snakemake's numbers change."""
    return digest(
        sorted(
            [m.rule.name, sorted(m.wildcards_dict.items()), sorted(map(str, m.output))] for m in members(job)
        )
    )


def fingerprint(job: Any, persistence: Any) -> tuple[str, dict[str, str]]:
    """Hash of the code, params, software and inputs of a job, and for each output the hash of the step that makes it.

    A group's members count together, without the files made inside the group. Code, params and software are what
    Snakemake records, so a job that Snakemake would rerun is not adopted.
    """
    steps = list(members(job))
    made = {str(path) for step in steps for path in step.output}
    hashes = [digest(_part(step, persistence, made)) for step in steps]
    parts = {str(path): part for step, part in zip(steps, hashes, strict=True) for path in step.output}
    return digest(sorted(hashes)), parts


def _part(job: Any, persistence: Any, made: set[str]) -> list[Any]:
    inputs = sorted(
        str(path) for path in job.input if str(path) not in made and not getattr(path, "is_storage", False)
    )
    script = script_path(job)
    return [
        job.rule.name,
        sorted(job.wildcards_dict.items()),
        *recorded(job, persistence),
        file_state(script) if script else None,
        [file_state(path) for path in inputs],
    ]


def members(job: Any) -> Iterable[Any]:
    """The jobs of a group, or the job itself."""
    return sorted(job.jobs, key=lambda j: (j.rule.name, str(j))) if job.is_group() else [job]
