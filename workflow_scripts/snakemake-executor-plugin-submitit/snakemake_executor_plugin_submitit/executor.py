"""The executor: Snakemake on one side, a cluster on the other; the decisions are in the modules beside it."""

from __future__ import annotations

import asyncio
import shlex
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from . import report, wakeups
from .cluster import make_cluster
from .command_line import in_job_options, request_of
from .commands import CommandError, Seen
from .dispatch import Dispatcher
from .efficiency import summarise
from .explain import failure, tell_of_strangers
from .fingerprint import fingerprint, job_key
from .ledger import JournalError, Ledger, LockedError, Record
from .mapping import ResourceError
from .run import Ready, Run
from .sending import Sender
from .settings import ExecutorSettings
from .states import Kind, Verdict
from .status import Watcher
from .submission import Callbacks, Pace, Submitter, can_wait

_SLOWEST_POLL_S = 60.0  # a command that hangs must not put off the next poll for longer


class Executor(RemoteExecutor):
    """Sends ready jobs to the cluster and follows them; see docs/executor.md."""

    def __post_init__(self) -> None:
        """Open the journal; the cluster is only asked when a job is ready."""
        settings = self.workflow.executor_settings or ExecutorSettings()
        settings.check()
        folder = Path(settings.folder)
        patience_s = 60.0 * settings.patience_min
        self.live: dict[str, SubmittedJobInfo] = {}
        self.done: list[Record] = []
        self.stopping = self.closed = False
        self._guard = threading.Lock()
        ledger = Ledger(folder, self.tell)
        try:
            cluster = make_cluster(settings)
            ledger.open(settings.keep_days)
        except (CommandError, LockedError, JournalError) as error:
            raise WorkflowError(str(error)) from None
        watcher = Watcher(cluster, patience_s, self.tell)
        self.run = Run(settings, folder, self.workflow, ledger, cluster, watcher, self.tell)
        self.dispatcher = Dispatcher(self.run, self._follow)
        self.submitter = Submitter(
            Callbacks(
                self.dispatcher.prepare,
                Sender(self.run, self._follow).send,
                self._give_up,
                self.tell,
                self._broken,
                self._can_wait,
            ),
            settings.collect_seconds,
            patience_s,
            Pace(settings.submissions_per_minute),
        )

    def tell(self, text: str) -> None:
        """A line on the user's terminal."""
        self.logger.warning(f"submitit: {text}")

    # What Snakemake calls to run jobs.

    def run_jobs(self, jobs: list[Any]) -> None:
        """Everything that is ready now; the queue packs it."""
        ready = []
        for job in jobs:
            self.run_job_pre(job)
            try:
                ready.append(self._ready(job))
            except ResourceError as error:
                self._refuse(job, f"was not submitted: {error}")
        self.submitter.add(ready)

    def run_job(self, job: Any) -> None:
        """One job alone (Snakemake calls `run_jobs`)."""
        self.run_jobs([job])

    def _ready(self, job: Any) -> Ready:
        request = request_of(job, self.workflow, self.run.settings)
        changes, parts = fingerprint(job, self.workflow.persistence)
        return Ready(job, job_key(job), changes, parts, request, self.format_job_exec(job))

    def get_job_args(self, job: Any, **_: Any) -> str:
        """The job's own CPUs; without files to wait for (the step waits itself: Snakemake would end with status 0).

        A job on its own also goes without Snakemake's limit of starts per second, which delays its end by that second.
        """
        words = str(super(RemoteExecutor, self).get_job_args(job, cores=max(1, int(job.threads))))
        return words if job.is_group() else f"{words} --max-jobs-per-timespan 100/0s"

    def additional_general_args(self) -> str:
        """Options of the Snakemake inside a job."""
        return in_job_options(self.workflow)

    def get_snakefile(self) -> str | Path:
        """As a path, which Snakemake quotes for the shell; strings it quotes as Python does."""
        path = Path(super().get_snakefile())
        return path if path.exists() else str(super().get_snakefile())

    def get_python_executable(self) -> str:
        """Quoted: an environment may lie in a folder with spaces."""
        return shlex.quote(super().get_python_executable())

    def _follow(self, ready: Ready, record: Record) -> None:
        """From the submitter's thread: `record.job_id` is this job's from now on."""
        info = SubmittedJobInfo(ready.job, external_jobid=record.job_id, aux={"record": record})
        with self._guard:
            self.live[record.job_id] = info
        self.report_job_submission(info, register_job=False)  # noted already, by the token

    def _can_wait(self, items: list[Ready]) -> bool:
        with self._guard:
            records = [info.aux["record"] for info in self.live.values()]
        known = ((record, self.run.watcher.seen.get(record.job_id)) for record in records)
        live = [(_kind(record.request), seen.state if seen else "") for record, seen in known]
        return can_wait([_kind(ready.request.as_dict()) for ready in items], live)

    def _give_up(self, items: list[Ready], words: str) -> None:
        for ready in items:
            if ready.record is not None:
                self.run.ledger.ended(ready.record, "REFUSED")
            self._refuse(ready.job, f"was refused by the cluster: {words}")

    def _refuse(self, job: Any, why: str) -> None:
        self.report_job_error(SubmittedJobInfo(job), msg=f"{report.title(job)} {why}\n")

    def print_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **kwargs: Any) -> None:
        """Of a group Snakemake prints all but the message, so it is told here."""
        if msg and job_info.job.is_group():
            self.tell(msg)
        super().print_job_error(job_info, msg, **kwargs)

    def _broken(self, error: Exception) -> None:
        if isinstance(error, JournalError | OSError):
            error = WorkflowError(str(error))
        self.workflow.scheduler.executor_error_callback(error)

    # What Snakemake calls to follow them.

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One poll. What is not yielded is forgotten, and an exception would end the run, so nothing may raise."""
        if not active_jobs:
            return  # Snakemake's thread may ask before `__post_init__` has made what follows
        begun = time.monotonic()
        verdicts = {} if self.stopping else self._poll(active_jobs)
        least = self.workflow.remote_execution_settings.seconds_between_status_checks
        # A query that fails or hangs is put off by those who ask it, so the others need not wait for it.
        ails = self.run.watcher.failures > 0 or bool(getattr(self.run.cluster, "complaint", ""))
        took = 0.0 if ails else time.monotonic() - begun
        self.next_seconds_between_status_checks = max(0.2, least, min(_SLOWEST_POLL_S, 10 * took))
        doomed = [job for job, verdict in verdicts.items() if verdict.kind is Kind.DOOMED]
        if doomed:
            self.run.cancel(doomed)
        for info in active_jobs:
            verdict = verdicts.get(info.external_jobid)
            if verdict is None or verdict.kind is Kind.WAIT or self.stopping:
                yield info
            else:
                self._finish(info, verdict)

    def _poll(self, active_jobs: list[SubmittedJobInfo]) -> dict[str, Verdict]:
        try:
            return self.run.watcher.poll(
                {i.external_jobid: self.run.trace(i.aux["record"]) for i in active_jobs}
            )
        except Exception as error:  # noqa: BLE001 - see check_active_jobs
            self.tell(f"A poll failed unexpectedly ({type(error).__name__}: {error}); trying again.")
            return {}

    async def sleep(self) -> None:
        """Between polls; comes back early when the run ends."""
        until = time.monotonic() + self.next_seconds_between_status_checks
        while self.wait and (left := until - time.monotonic()) > 0:
            wakeups.drop_needless()
            await asyncio.sleep(min(0.5, left))

    def _finish(self, info: SubmittedJobInfo, verdict: Verdict) -> None:
        record = info.aux["record"]
        seen = self.run.watcher.seen.get(record.job_id) or Seen("")
        with self._guard:
            self.live.pop(record.job_id, None)
        self.run.watcher.forget(record.job_id)
        if verdict.kind is Kind.SUCCESS:
            self.run.ledger.ended(record, "COMPLETED")
            self.done.append(record)
            self.report_job_success(info)
        else:
            self.run.ledger.ended(record, verdict.state)
            self.report_job_error(
                info, msg=failure(self.run, info.job, record, verdict, seen), aux_logs=[record.log]
            )

    # The end.

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Ctrl-C. Snakemake's list misses what is being polled, so ours counts."""
        self.stopping = True
        self.submitter.stop()
        jobs = list(self.live)
        if jobs and self.run.settings.on_interrupt == "leave":
            self.tell(f"Leaving {len(jobs)} jobs queued or running; the next run adopts them.")
        elif jobs:
            for info in self.live.values():
                self.run.ledger.ended(info.aux["record"], "CANCELLING")
            self.run.cancel(jobs)

    def shutdown(self) -> None:
        """Stop the threads, say what was asked for and used, and tidy up."""
        self.submitter.stop()
        super().shutdown()
        if self.closed:
            return
        self.closed = True
        wakeups.drop_needless(keep=0)
        run = self.run
        if not self.stopping:
            tell_of_strangers(run, self.dispatcher.asked)
            text = "" if run.settings.no_efficiency else summarise(self.done, run.cluster, run.folder)
            if text:
                self.logger.info(text)
        kept = {record.token for record in run.ledger.records.values() if record.ended != "COMPLETED"}
        report.clean_up(run.folder, kept, run.settings.keep_days)
        run.ledger.close()


def _kind(request: dict[str, Any]) -> str:
    return repr(sorted(request.items()))
