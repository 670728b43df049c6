"""One pack of jobs becomes one submission, which the journal records before and after.

Snakemake's own mark of incomplete outputs is made before sbatch too: a job may start and write before sbatch answers.
"""

from __future__ import annotations

import os
import secrets
import time

from ..cluster.base import Batch, CommandError, Refused, Unclear
from ..follow.report import log_path
from ..job.step import Step
from ..journal import Record, batch_folder
from .context import Context, Follow, Ready


class Sender:
    """Works in the queue's thread; `follow(ready, record)` is called for each job that has an id."""

    def __init__(self, context: Context, follow: Follow) -> None:
        self.context, self.follow = context, follow
        self._unclear: dict[
            str, str
        ] = {}  # token of a submission that may have been accepted → sbatch's answer

    def send(self, items: list[Ready]) -> None:
        """Submit, unless an earlier try of this pack turns out to have been accepted.

        Raises:
            Refused: with the cluster's message.
            Unclear: if the submission may have been accepted; another try only looks for its jobs.
            JournalError: if the submission can't be recorded.
        """
        records = _unanswered(items)
        ids = self._find(records) if records else []
        if not records:
            records = self._record_all(items)
        if not ids:
            ids = self._submit(items, records)
        for record, identity in zip(records, ids, strict=True):
            record.job_id = identity
        self.context.journal.submitted(records)
        for ready, record in zip(items, records, strict=True):
            self.follow(ready, record)

    def _submit(self, items: list[Ready], records: list[Record]) -> list[str]:
        token = records[0].token
        if token in self._unclear:
            raise Unclear(self._unclear[token])
        try:
            return self.context.cluster.submit(self._batch(items, records))
        except Refused as error:
            if isinstance(error, Unclear):
                self._unclear[token] = str(error)
            if ids := self._find(
                records
            ):  # SLURM's word counts, whatever sbatch or a wrapper around it reported
                return ids
            raise

    def _find(self, records: list[Record]) -> list[str]:
        try:
            ids = self.context.find(records)
        except CommandError as error:
            raise Refused(f"temporarily no answer: {error}") from error
        if any(ids) and not all(ids):
            raise Unclear(
                f"all {len(ids)} jobs of one sbatch must be in the queue; {sum(map(bool, ids))} are"
            )
        return ids if all(ids) else []

    def _record_all(self, items: list[Ready]) -> list[Record]:
        token = f"{time.strftime('%y%m%d')}-{secrets.token_hex(4)}"
        records = [self._record(ready, token, index) for index, ready in enumerate(items)]
        self.context.journal.intend(records)
        for ready in items:
            ready.job.register(external_jobid=token)
        return records

    def _record(self, ready: Ready, token: str, index: int) -> Record:
        job = ready.job
        wildcards = [] if job.is_group() else sorted(job.wildcards_dict.items())
        name = job.groupid if job.is_group() else job.rule.name
        ready.record = Record(
            ready.key,
            token,
            index,
            ready.fingerprint,
            name,
            str(log_path(self.context.folder / "logs", name, wildcards, token, index)),
            request=ready.request.as_dict(),
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
            folder=batch_folder(self.context.folder, records[0]),
            request=items[0].request,
            steps=tuple(self._step(ready, record) for ready, record in zip(items, records, strict=True)),
            after=items[0].after,
        )

    def _step(self, ready: Ready, record: Record) -> Step:
        return Step(
            command=ready.command,
            folder=os.getcwd(),
            log=record.log,
            outcome=str(self.context.outcome(record)),
            wait_for=tuple(str(path) for path in ready.job.get_wait_for_files()),
            latency_wait_s=self.context.workflow.execution_settings.latency_wait,
            checkpoint=ready.request.checkpoint,
            warning_s=self.context.settings.signal_delay_s,
            restarts=self.context.settings.requeues,
            kill_wait_s=self.context.cluster.kill_wait_s,
        )


def _unanswered(items: list[Ready]) -> list[Record]:
    records = [ready.record for ready in items if ready.record is not None]
    whole = len(records) == len(items) and [record.index for record in records] == list(range(len(items)))
    return records if whole and len({record.token for record in records}) == 1 else []
