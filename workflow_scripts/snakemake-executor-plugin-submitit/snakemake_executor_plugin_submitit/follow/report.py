"""What the user reads when a step fails, where logs are, and when they are deleted."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cluster.base import Seen
from ..job import outcome
from ..journal import Record, batch_folder, outcome_path
from .verdict import Verdict

_ODD = re.compile(r"[^A-Za-z0-9._=+,-]+")
# What the Snakemake inside the job prints around the step's own words.
_BOILERPLATE = re.compile(
    r"^(host: |Building DAG of jobs|Using shell: |Provided |Rules claiming more|Select jobs to execute|Execute \d+ jobs"
    r"|Job stats|job +count$|-{5,}|total +\d|\[\w{3} \w{3} +\d|Shutting down|Exiting because|WorkflowError:$|Will exit after"
    r"|At least one job did not complete|Elapsed time: |Complete log|Removing output files of failed job|Trying to restart|RuleException:$"
    r"|(local)?(rule|checkpoint) \w+:$|Error in (rule|group) .*:$|Finished job|\d+ of \d+ steps|Storing output|Touching output"
    r"|Assuming unrestricted|Using profile|Config file|Group jobs: |Singularity containers: |Conda environments: "
    r"|Waiting at most|Failed to set marker|    (message|jobid|input|output|log|wildcards|threads|resources|reason|priority"
    r"|benchmark|shell|conda-env|external_jobid|params): ?|        \(command exited|    shell:$|\s*$)"
)


def log_path(folder: Path, name: str, wildcards: Sequence[tuple[str, str]], token: str, index: int) -> Path:
    """`<folder>/<rule>/<wildcard=value,...>/<submission>.log`; odd characters and long names are replaced by a hash."""
    values = ",".join(f"{key}={value}" for key, value in wildcards)
    return folder / _safe(name) / _safe(values) / f"{token}-{index}.log"


def _safe(name: str, longest: int = 100) -> str:
    name = name or "all"
    plain = _ODD.sub("_", name)
    if plain == name and len(plain) <= longest:
        return plain
    return f"{plain[:longest]}~{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def own_words(text: str, most: int = 12) -> list[str]:
    """The last lines that the step itself wrote, without Snakemake's frame (unless there is nothing else)."""
    lines = [line.rstrip() for line in text.splitlines()]
    own = [line for line in lines if not _BOILERPLATE.match(line)]
    return (own or [line for line in lines if line])[-most:]


def tail(path: Path, size: int = 20_000) -> str:
    """The end of a file as text; empty if the file does not exist."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def failure(folder: Path, job: Any, record: Record, verdict: Verdict, seen: Seen) -> str:
    """The message of a failed step: what, where, why, the step's own last words, and the paths of its logs.

    Args:
        folder: the plugin's folder.
        job: Snakemake's job.
        record: its submission.
        verdict: what its end means.
        seen: SLURM's last word on it.
    """
    logs = [*([] if job.is_group() else map(str, job.log)), record.log]
    paths = [Path(log) for log in logs]
    node = seen.node or outcome.read(outcome_path(folder, record)).host or "no node"
    said = [
        f"{name} {word}" for name, word in (("reason", seen.reason), ("exit code", seen.exit_code)) if word
    ]
    lines = [
        f"{title(job)} failed: {verdict.why or verdict.state} ({verdict.state})",
        "; ".join([f"  job {record.job_id} on {node}", *([", ".join(said)] if said else [])]),
    ]
    for path in paths:
        if words := own_words(tail(path)):
            lines += [f"  last lines of {path}:", *(f"    {line}" for line in words)]
            break
    slurm = tail(batch_folder(folder, record) / f"{record.job_id}.out").splitlines()
    daemon = [line.strip() for line in slurm if "slurmstepd" in line or "srun: error" in line]
    lines += [f"  SLURM: {line}" for line in daemon[-3:]]
    lines += [f"  log: {path}" for path in paths]
    return "\n        ".join(lines) + "\n        "  # inside Snakemake's own frame


def title(job: Any) -> str:
    """`rule finetune (seed=0, sparsity=0.7)`, or the group with its rules."""
    if job.is_group():
        return f"group {job.groupid} ({', '.join(sorted(job.rules))})"
    wildcards = ", ".join(f"{name}={value}" for name, value in sorted(job.wildcards_dict.items()))
    return f"rule {job.rule.name}" + (f" ({wildcards})" if wildcards else "")


def clean_up(folder: Path, kept_tokens: set[str], keep_days: int, *, now: float | None = None) -> int:
    """Delete logs and submission files older than `keep_days` whose submission is not in `kept_tokens`.

    Returns:
        How many files and folders were deleted.
    """
    oldest = (time.time() if now is None else now) - 86400 * keep_days
    count = 0
    batches = folder / "batches"
    for batch in list(batches.iterdir()) if batches.is_dir() else []:
        if batch.name not in kept_tokens and batch.stat().st_mtime < oldest:
            shutil.rmtree(batch, ignore_errors=True)
            count += 1
    for log in list((folder / "logs").glob("*/*/*.log")):
        if log.name.rpartition("-")[0] not in kept_tokens and log.stat().st_mtime < oldest:
            log.unlink(missing_ok=True)
            count += 1
            for parent in (log.parent, log.parent.parent):
                if not any(parent.iterdir()):
                    parent.rmdir()
    return count
