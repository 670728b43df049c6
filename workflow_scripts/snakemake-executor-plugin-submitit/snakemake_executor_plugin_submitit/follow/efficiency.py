"""What each rule requested and used, with suggestions for the profile."""

from __future__ import annotations

import contextlib
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cluster.base import CommandError
from ..cluster.commands import run
from ..job.outcome import read_all
from ..journal import Record, outcome_path

_FIELDS = "JobID,ElapsedRaw,TotalCPU,MaxRSS,TRESUsageInMax"
_UNITS = {"": 1 / (1 << 20), "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


@dataclass(frozen=True)
class Usage:
    """What one job used; None if unknown. GPU use in per cent."""

    elapsed_s: float | None = None
    cpu_s: float | None = None
    rss_mb: float | None = None
    gpu_percent: float | None = None


def parse_usage(text: str) -> dict[str, Usage]:
    """Job id → usage from sacct's lines of a job and its steps: the largest of each number."""
    found: dict[str, Usage] = {}
    for line in text.splitlines():
        cells = line.split("|", 4)
        if len(cells) != 5:
            continue
        job = cells[0].partition(".")[0]
        use = dict(part.split("=", 1) for part in cells[4].split(",") if "=" in part)
        new = (
            float(cells[1]) if cells[1].isdigit() else None,
            _seconds(cells[2]),
            _megabytes(cells[3]),
            _number(use.get("gres/gpuutil", "")),
        )
        old = found.get(job, Usage())
        before = (old.elapsed_s, old.cpu_s, old.rss_mb, old.gpu_percent)
        found[job] = Usage(*(_larger(a, b) for a, b in zip(before, new, strict=True)))
    return found


def own_usage(outcome: dict[str, Any]) -> Usage:
    """From what the job measured itself."""
    if "end" not in outcome:
        return Usage()
    return Usage(outcome["end"] - outcome["start"], outcome.get("cpu_s"), outcome.get("max_rss_mb"))


def table(jobs: Sequence[tuple[Record, Usage]]) -> list[dict[str, Any]]:
    """One row per rule: number of jobs, their largest request, and the median and maximum of their use."""
    rules: dict[str, list[tuple[Record, Usage]]] = {}
    for record, usage in jobs:
        if usage.elapsed_s is not None:
            rules.setdefault(record.rule, []).append((record, usage))
    return [_row(rule, members) for rule, members in sorted(rules.items())]


def _row(rule: str, members: Sequence[tuple[Record, Usage]]) -> dict[str, Any]:
    requests = [record.request for record, _ in members]
    elapsed = [usage.elapsed_s / 60 for _, usage in members if usage.elapsed_s is not None]
    memory = [usage.rss_mb for _, usage in members if usage.rss_mb]
    cpu_s = sum(usage.cpu_s or 0.0 for _, usage in members)
    allocated = sum(
        (usage.elapsed_s or 0.0) * r.get("cpus", 1) for r, (_, usage) in zip(requests, members, strict=True)
    )
    gpu = [usage.gpu_percent for _, usage in members if usage.gpu_percent is not None]
    row: dict[str, Any] = {
        "rule": rule,
        "jobs": len(members),
        "requested_min": max(int(r.get("runtime_min", 0)) for r in requests) or None,
        "used_min_median": round(statistics.median(elapsed), 1),
        "used_min_max": round(max(elapsed), 1),
        "requested_mb": max(
            int(r.get("mem_mb", 0)) or int(r.get("mem_mb_per_cpu", 0)) * r.get("cpus", 1) for r in requests
        )
        or None,
        "used_mb_max": round(max(memory)) if memory else None,
        "cpus": max(r.get("cpus", 1) for r in requests),
        "cpu_percent": round(100 * cpu_s / allocated) if allocated else None,
        "gpu_percent": round(statistics.mean(gpu)) if gpu else None,
    }
    # A group is not a rule: nothing can be set for it.
    row["suggestion"] = {} if any(record.is_group for record, _ in members) else suggest(row)
    return row


def suggest(row: dict[str, Any]) -> dict[str, int]:
    """Resources and threads to set where a request exceeds twice the use or leaves less than a tenth; else nothing."""
    better = {}
    for name, requested, used, least in (
        ("runtime", row["requested_min"], row["used_min_max"], 5),
        ("mem_mb", row["requested_mb"], row["used_mb_max"], 200),
    ):
        if requested and used is not None and (requested > 2 * max(used, least) or used > 0.9 * requested):
            better[name] = max(least, _round_up(1.3 * used))
            if better[name] == requested:
                del better[name]
    if row["cpus"] > 1 and row["cpu_percent"] is not None and row["cpu_percent"] < 50:
        better["threads"] = max(1, round(row["cpus"] * row["cpu_percent"] / 100 + 0.49))
    return better


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The table as aligned text."""
    names = [name for name in rows[0] if name != "suggestion"]
    cells = [names, *[["-" if row[name] is None else str(row[name]) for name in names] for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join(["What steps requested and used:", *lines, *_hints(rows)])


def _hints(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The suggestions as the profile writes them."""
    resources, threads = [], []
    for row in rows:
        found = dict(row["suggestion"])
        if "threads" in found:
            threads.append(f"    {row['rule']}: {found.pop('threads')}")
        if found:
            resources.append(
                f"    {row['rule']}: {{{', '.join(f'{name}: {value}' for name, value in found.items())}}}"
            )
    lines = (["  set-resources:", *resources] if resources else []) + (
        ["  set-threads:", *threads] if threads else []
    )
    return ["Suggested for the profile:", *lines] if lines else []


def summarise(records: Iterable[Record], folder: Path, *, accounting: bool, timeout_s: float = 30) -> str:
    """The table of all jobs that succeeded; also written to `<folder>/efficiency.txt`. One sacct call if `accounting`."""
    done = [r for r in records if r.ended == "COMPLETED"]
    if not done:
        return ""
    measured: dict[str, Usage] = {}
    if accounting:
        ids = ",".join(sorted({r.job_id.partition("_")[0] for r in done}))
        command = ["sacct", "-n", "-P", f"--format={_FIELDS}", f"--jobs={ids}"]
        with contextlib.suppress(CommandError):  # then the jobs' own measurements must do
            measured = parse_usage(run(command, timeout_s))
    rows = table([(r, _joined(measured.get(r.job_id, Usage()), folder, r)) for r in done])
    if not rows:
        return ""
    text = render(rows)
    (folder / "efficiency.txt").write_text(text + "\n")
    return text


def _joined(slurm: Usage, folder: Path, record: Record) -> Usage:
    own = own_usage(read_all(outcome_path(folder, record)))
    return Usage(
        slurm.elapsed_s or own.elapsed_s,
        _larger(slurm.cpu_s, own.cpu_s),
        _larger(slurm.rss_mb, own.rss_mb),
        slurm.gpu_percent,
    )


def _larger(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)


def _seconds(text: str) -> float | None:
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if not match:
        return None
    days, hours, minutes, seconds = match.groups()
    return 86400 * int(days or 0) + 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds)


def _megabytes(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return float(match.group(1)) * _UNITS[match.group(2)] if match else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _round_up(value: float) -> int:
    step = 10 ** max(0, len(str(int(value))) - 2)
    return int(-(-value // step) * step)
