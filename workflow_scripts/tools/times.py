"""Print what the jobs of every rule cost: start-up, work, CPU and memory."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean


def table(results: Path) -> str:
    """A Markdown table with one row per rule, means over its jobs, from the times that steps write beside their logs."""
    jobs = defaultdict(list)
    for path in sorted(results.glob("logs/**/*.times.json")):
        job = json.loads(path.read_text(encoding="utf-8"))
        jobs[job["rule"]].append(job)
    lines = [
        "| rule | jobs | start-up (s) | work (s) | longest (s) | CPU (s) | memory (MB) |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for rule, rows in jobs.items():
        start, work, cpu = (mean(row[f"{key}_seconds"] for row in rows) for key in ("startup", "work", "cpu"))
        longest, memory = (max(row[key] for row in rows) for key in ("work_seconds", "max_rss_mb"))
        lines.append(
            f"| {rule} | {len(rows)} | {start:.2f} | {work:.2f} | {longest:.2f} | {cpu:.2f} | {memory} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1] if len(sys.argv) > 1 else "results")))
