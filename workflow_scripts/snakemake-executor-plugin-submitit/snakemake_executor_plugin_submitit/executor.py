"""The executor that Snakemake calls. It connects the parts; the decisions are in the rooms beside it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from .cluster import make_cluster
from .cluster.base import CommandError, Refused, Seen, Unclear
from .follow import report
from .follow.efficiency import summarise
from .follow.poll import Poller
from .follow.verdict import Kind, Verdict
from .journal import Journal, JournalError, LockedError, Record
from .settings import ExecutorSettings
from .submit.context import Context, Ready
from .submit.earlier import EarlierJobs
from .submit.fingerprint import fingerprint, job_key
from .submit.queue import Callbacks, Pace, SubmissionQueue, can_wait
from .submit.resources import ResourceError, request_of
from .submit.send import Sender
from .workarounds import SnakemakeInJob, drop_timers

_LONGEST_PAUSE_S = 60.0  # between two polls, if a command hangs


class Executor(SnakemakeInJob):
    """Submits ready jobs to the cluster and follows them."""

    def __post_init__(self) -> None:
        """Open the journal. The cluster is not asked before a job is ready."""
        settings = self.workflow.executor_settings or ExecutorSettings()
        settings.check()
        folder = Path(settings.folder)
        patience_s = 60.0 * settings.patience_min
        self.live: dict[str, SubmittedJobInfo] = {}
        self.done: list[Record] = []
        self.stopping = self.closed = False
        self._guard = threading.Lock()
        journal = Journal(folder, self.tell)
        try:
            cluster = make_cluster(settings)
            journal.open(settings.keep_days)
        except (CommandError, LockedError, JournalError) as error:
            raise WorkflowError(str(error)) from None
        poller = Poller(cluster, patience_s, self.tell)
        self.context = Context(settings, folder, self.workflow, journal, cluster, poller, self.tell)
        self.earlier = EarlierJobs(self.context, self._follow)
        self.queue = SubmissionQueue(
            Callbacks(
                self.earlier.prepare,
                Sender(self.context, self._follow).send,
                self._give_up,
                self.tell,
                self._broken,
                self._can_wait,
            ),
            settings.collect_seconds,
            patience_s,
            Pace(settings.submissions_per_minute),
        )

    # What Snakemake calls to run jobs.

    def run_jobs(self, jobs: list[Any]) -> None:
        """All jobs that are ready now; the queue packs them."""
        ready = []
        for job in jobs:
            self.run_job_pre(job)
            try:
                ready.append(self._ready(job))
            except ResourceError as error:
                self._refuse(job, f"was not submitted: {error}")
        self.queue.add(ready)

    def run_job(self, job: Any) -> None:
        """One job alone (Snakemake calls `run_jobs`)."""
        self.run_jobs([job])

    def _ready(self, job: Any) -> Ready:
        request = request_of(job, self.workflow, self.context.settings)
        changes, parts = fingerprint(job, self.workflow.persistence)
        return Ready(job, job_key(job), changes, parts, request, self.format_job_exec(job))

    def _follow(self, ready: Ready, record: Record) -> None:
        """From the queue's thread: `record.job_id` is this job's from now on."""
        info = SubmittedJobInfo(ready.job, external_jobid=record.job_id, aux={"record": record})
        with self._guard:
            self.live[record.job_id] = info
        self.report_job_submission(info, register_job=False)  # already recorded, by the token

    def _can_wait(self, items: list[Ready]) -> bool:
        with self._guard:
            records = [info.aux["record"] for info in self.live.values()]
        known = ((record, self.context.poller.seen.get(record.job_id)) for record in records)
        live = [(_kind(record.request), seen.state if seen else "") for record, seen in known]
        return can_wait([_kind(ready.request.as_dict()) for ready in items], live)

    def _give_up(self, items: list[Ready], refusal: Refused) -> None:
        unclear = isinstance(refusal, Unclear)
        for ready in items:
            if ready.record is not None and not unclear:  # else the next try looks for it again
                self.context.journal.ended(ready.record, "REFUSED")
            what = "was submitted, but is not in the queue" if unclear else "was refused by the cluster"
            self._refuse(ready.job, f"{what}: {refusal}")

    def _refuse(self, job: Any, why: str) -> None:
        self.report_job_error(SubmittedJobInfo(job), msg=f"{report.title(job)} {why}\n")

    def _broken(self, error: Exception) -> None:
        if isinstance(error, JournalError | OSError):
            error = WorkflowError(str(error))
        self.workflow.scheduler.executor_error_callback(error)

    # What Snakemake calls to follow them.

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One poll. Snakemake forgets what is not yielded, and an exception would end the run, so nothing may raise."""
        if not active_jobs:
            return  # Snakemake's thread may ask before `__post_init__` has ended
        begun = time.monotonic()
        verdicts = {} if self.stopping else self._poll(active_jobs)
        least = self.workflow.remote_execution_settings.seconds_between_status_checks
        # A query that fails or hangs has pauses of its own, so the next poll need not wait for it.
        ails = self.context.poller.failures > 0 or bool(getattr(self.context.cluster, "complaint", ""))
        took = 0.0 if ails else time.monotonic() - begun
        self.next_seconds_between_status_checks = max(0.2, least, min(_LONGEST_PAUSE_S, 10 * took))
        doomed = [job for job, verdict in verdicts.items() if verdict.kind is Kind.DOOMED]
        if doomed:
            self.context.cancel(doomed)
        for info in active_jobs:
            verdict = verdicts.get(info.external_jobid)
            if verdict is None or verdict.kind is Kind.WAIT or self.stopping:
                yield info
            else:
                self._finish(info, verdict)

    def _poll(self, active_jobs: list[SubmittedJobInfo]) -> dict[str, Verdict]:
        try:
            return self.context.poller.poll(
                {i.external_jobid: self.context.outcome(i.aux["record"]) for i in active_jobs}
            )
        except Exception as error:  # noqa: BLE001 - see check_active_jobs
            self.tell(f"A poll failed unexpectedly ({type(error).__name__}: {error}); trying again.")
            return {}

    async def sleep(self) -> None:
        """Between polls; returns early when the run ends."""
        until = time.monotonic() + self.next_seconds_between_status_checks
        while self.wait and (left := until - time.monotonic()) > 0:
            drop_timers()
            await asyncio.sleep(min(0.5, left))

    def _finish(self, info: SubmittedJobInfo, verdict: Verdict) -> None:
        record = info.aux["record"]
        seen = self.context.poller.seen.get(record.job_id) or Seen("")
        with self._guard:
            self.live.pop(record.job_id, None)
        self.context.poller.forget(record.job_id)
        if verdict.kind is Kind.SUCCESS:
            self.context.journal.ended(record, "COMPLETED")
            self.done.append(record)
            self.report_job_success(info)
        else:
            self.context.journal.ended(record, verdict.state)
            self.report_job_error(
                info,
                msg=report.failure(self.context.folder, info.job, record, verdict, seen),
                aux_logs=[record.log],
            )

    # The end.

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Ctrl-C. Snakemake's list lacks the jobs that are being polled, so ours counts."""
        self.stopping = True
        self.queue.stop()
        jobs = list(self.live)
        if jobs and self.context.settings.on_interrupt == "leave":
            self.tell(f"Leaving {len(jobs)} jobs queued or running; the next run adopts them.")
        elif jobs:
            for info in self.live.values():
                self.context.journal.ended(info.aux["record"], "CANCELLING")
            self.context.cancel(jobs)

    def shutdown(self) -> None:
        """Stop the threads, print what was requested and used, and delete old files."""
        self.queue.stop()
        super().shutdown()
        if self.closed:
            return
        self.closed = True
        drop_timers(keep=0)
        context, settings = self.context, self.context.settings
        if not self.stopping:
            self.earlier.tell_of_leftovers()
            if not settings.no_efficiency and (
                text := summarise(self.done, context.folder, accounting=context.cluster.forgets)
            ):
                self.logger.info(text)
        kept = {record.token for record in context.journal.records.values() if record.ended != "COMPLETED"}
        report.clean_up(context.folder, kept, settings.keep_days)
        context.journal.close()


def _kind(request: dict[str, Any]) -> str:
    return repr(sorted(request.items()))
