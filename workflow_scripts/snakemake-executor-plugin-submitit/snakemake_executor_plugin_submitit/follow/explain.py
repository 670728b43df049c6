"""What a run tells the user about its jobs: why one failed, and which are left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import report
from .commands import Seen
from .ledger import Record
from .run import Run
from .states import Kind, Verdict
from .trace import read_dict


def failure(run: Run, job: Any, record: Record, verdict: Verdict, seen: Seen) -> str:
    """The message for the terminal: what, where, why, and the step's own last words."""
    array, _, task = record.job_id.partition("_")
    said = [
        f"reason {seen.reason}" if seen.reason else "",
        f"exit code {seen.exit_code}" if seen.exit_code else "",
    ]
    return report.failure_text(
        title=report.title(job),
        job_id=record.job_id,
        node=seen.node or str(read_dict(run.trace(record)).get("host", "")),
        state=verdict.state,
        why=verdict.why,
        slurm=", ".join(part for part in said if part),
        logs=[Path(record.log)]
        if job.is_group()
        else [*(Path(str(path)) for path in job.log), Path(record.log)],
        cluster_log=run.batch_folder(record) / (f"{array}_{task}.out" if task else f"{array}.out"),
    )


def tell_of_strangers(run: Run, asked: set[str]) -> None:
    """Jobs of an earlier run that this one did not need: say which still live, and forget the others."""
    records = {
        r.job_id: r for r in run.ledger.records.values() if not r.ended and r.job_id and r.key not in asked
    }
    verdicts = run.watcher.poll({job: run.trace(record) for job, record in records.items()})
    for job, verdict in verdicts.items():
        if verdict.kind in (Kind.SUCCESS, Kind.FAILURE):
            run.ledger.ended(records.pop(job), verdict.state)
    if records:
        ids = sorted(records)
        run.tell(
            f"{len(ids)} jobs of an earlier run were not needed this time and may still run. To end them: scancel "
            + " ".join(ids[:20])
            + (" ..." if len(ids) > 20 else "")
        )
