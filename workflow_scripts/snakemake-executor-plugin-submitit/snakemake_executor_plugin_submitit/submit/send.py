"""One pack of jobs becomes one submission, written down before and after.

Snakemake's own note that outputs are not complete is made before it, too: a job may start, and write, before sbatch answers.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from . import report
from .cluster import Batch, Refused
from .commands import CommandError
from .ledger import Record
from .run import Ready, Run
from .step import Step

Follow = Callable[[Ready, Record], None]


class Sender:
    """`follow(ready, record)` is called for each job once it has an id."""

    def __init__(self, run: Run, follow: Follow) -> None:
        self.run, self.follow = run, follow

    def send(self, items: list[Ready]) -> None:
        """Submit; a former try of the same pack that may have gone through unseen is looked for first.

        Raises:
            Refused: in the cluster's words.
            JournalError: if it can't be written down.
        """
        records = _unanswered(items)
        ids = self._find(records) if records else []
        if not records:
            token = f"{time.strftime('%y%m%d')}-{secrets.token_hex(4)}"
            records = [self._record(ready, token, index) for index, ready in enumerate(items)]
            self.run.ledger.intend(records)
            for ready in items:
                ready.job.register(external_jobid=token)
        ids = ids or self.run.cluster.submit(self._batch(items, records))
        for record, identity in zip(records, ids, strict=True):
            record.job_id = identity
        self.run.ledger.submitted(records)
        for ready, record in zip(items, records, strict=True):
            self.follow(ready, record)

    def _find(self, records: list[Record]) -> list[str]:
        try:
            found = self.run.cluster.find(records[0].token)
        except CommandError as error:
            raise Refused(f"temporarily no answer: {error}") from error
        return [found[index] for index in range(len(records))] if len(found) == len(records) else []

    def _record(self, ready: Ready, token: str, index: int) -> Record:
        job = ready.job
        wildcards = [] if job.is_group() else sorted(job.wildcards_dict.items())
        name = job.groupid if job.is_group() else job.rule.name
        log = report.log_path(self.run.folder / "logs", [name], wildcards, token, index)
        ready.record = Record(
            ready.key,
            token,
            index,
            ready.fingerprint,
            name,
            str(log),
            request=ready.request.as_dict(),
            attempt=job.attempt,
            parts=ready.parts,
            after=list(ready.after),
            is_group=job.is_group(),
        )
        return ready.record

    def _batch(self, items: list[Ready], records: list[Record]) -> Batch:
        name = "+".join(sorted({record.rule for record in records}))
        return Batch(
            token=records[0].token,
            name=name if len(name) <= 40 else f"{name[:37]}...",
            folder=Path(self.run.batch_folder(records[0])),
            request=items[0].request,
            steps=tuple(self._step(ready, record) for ready, record in zip(items, records, strict=True)),
            after=items[0].after,
        )

    def _step(self, ready: Ready, record: Record) -> Step:
        return Step(
            command=ready.command,
            folder=os.getcwd(),
            log=record.log,
            trace=str(self.run.trace(record)),
            wait_for=tuple(str(path) for path in ready.job.get_wait_for_files()),
            latency_wait_s=self.run.workflow.execution_settings.latency_wait,
            checkpoint=ready.request.checkpoint,
            warning_s=self.run.settings.signal_delay_s,
            restarts=self.run.settings.requeues,
            kill_wait_s=self.run.cluster.kill_wait_s,
        )


def _unanswered(items: list[Ready]) -> list[Record]:
    records = [ready.record for ready in items if ready.record is not None]
    whole = len(records) == len(items) and [record.index for record in records] == list(range(len(items)))
    return records if whole and len({record.token for record in records}) == 1 else []
