"""Earlier submissions of jobs that are ready: each job is adopted, replaced, submitted or left waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cluster.base import CommandError
from ..cluster.words import is_alive
from ..follow.verdict import Kind, Verdict
from ..journal import Record
from .adoption import Action, choose
from .context import Context, Follow, Ready
from .fingerprint import members
from .queue import pack

_UNKNOWN = "?"  # an id that has not been found yet
_OPEN = ("", "CANCELLING")  # what the journal says of a job that may still be on the cluster
_SLACK_S = 2.0


@dataclass(frozen=True)
class Past:
    """A job's own last submission, and other jobs that write the same files: grouped otherwise, or of a renamed rule."""

    own: Record | None
    rivals: tuple[Record, ...]

    def records(self) -> list[Record]:
        """All of them."""
        return [*([self.own] if self.own else []), *self.rivals]

    def jobs(self) -> set[str]:
        """Ids of all jobs that may still write these files, also those that the own submission waits for."""
        before = self.own.after if self.own and not self.own.job_id else ()
        return {record.job_id for record in self.records() if record.job_id} | set(before)


class EarlierJobs:
    """Works in the queue's thread; `follow(ready, record)` is called for each adopted job."""

    def __init__(self, context: Context, follow: Follow) -> None:
        self.context, self.follow = context, follow
        self.wanted: set[str] = set()
        self._begun = time.monotonic()

    def prepare(self, items: list[Ready]) -> tuple[list[list[Ready]], list[Ready]]:
        """Packs to submit, and jobs that wait because the cluster did not say what became of their earlier submission."""
        self.wanted |= {ready.key for ready in items}
        pasts = [self._past(ready) for ready in items]
        verdicts = self._earlier(pasts)
        parts: dict[Action, list[tuple[Ready, Past]]] = {action: [] for action in Action}
        for ready, past in zip(items, pasts, strict=True):
            parts[self._action(ready, past, verdicts)].append((ready, past))
        self._adopt(parts[Action.ADOPT])
        self._replace(parts[Action.REPLACE])
        new = [ready for action in (Action.SUBMIT, Action.REPLACE) for ready, _ in parts[action]]
        return self._packs(new), [ready for ready, _ in parts[Action.WAIT]]

    def _past(self, ready: Ready) -> Past:
        journal = self.context.journal
        makers = journal.makers(ready.parts)
        own = journal.records.get(ready.key)
        if own is None:  # the same steps, unchanged, may be part of a larger group
            larger = [record for record in makers if ready.parts.items() <= record.parts.items()]
            own = max(larger, key=lambda record: record.at, default=None)
        if own is not None and own.ended not in _OPEN and not self._marked(ready, own):
            own = None  # it has ended, and Snakemake knows
        return Past(own, tuple(r for r in makers if r.ended in _OPEN and r is not own))

    def _action(self, ready: Ready, past: Past, verdicts: dict[str, Verdict]) -> Action:
        action = self._alone(ready, past.own, verdicts)
        if action in (Action.ADOPT, Action.WAIT):
            return action
        if not past.jobs() <= set(verdicts):
            return Action.WAIT
        ready.after = tuple(sorted(job for job in past.jobs() if is_alive(self.context.poller.seen.get(job))))
        return Action.REPLACE if ready.after else Action.SUBMIT

    def _alone(self, ready: Ready, record: Record | None, verdicts: dict[str, Verdict]) -> Action:
        if record is None or not record.job_id:
            return Action.SUBMIT
        if record.job_id == _UNKNOWN:
            return Action.WAIT
        same = record.fingerprint == ready.fingerprint or record.key != ready.key
        return choose(
            record,
            self.context.poller.seen.get(record.job_id),
            verdicts.get(record.job_id),
            same=same,
            request=ready.request.as_dict(),
            marked=self._marked(ready, record),
            outputs_exist=all(os.path.lexists(path) for path in ready.job.output),
        )

    def _adopt(self, found: list[tuple[Ready, Past]]) -> None:
        for ready, past in found:
            assert past.own is not None
            past.own.ended = ""
            if not self._marked(ready, past.own):
                ready.job.register(external_jobid=past.own.token)
            self.follow(ready, past.own)
        if found:
            self.context.tell(f"Adopted {len(found)} jobs of an earlier run.")

    def _replace(self, found: list[tuple[Ready, Past]]) -> None:
        old = sorted({job for ready, _ in found for job in ready.after})
        for record in {r.key: r for _, past in found for r in past.records() if r.job_id in old}.values():
            self.context.journal.ended(record, "CANCELLING")
        if old:
            self.context.tell(
                f"{len(old)} jobs of an earlier run have changed since: cancelling and submitting them again."
            )
            self.context.cancel(old)

    def _packs(self, items: list[Ready]) -> list[list[Ready]]:
        if not items:
            return []
        packs = pack(
            items, lambda ready: (ready.request, bool(ready.after)), self.context.cluster.max_batch()
        )
        for together in packs:  # one submission has one list of jobs to wait for
            after = tuple(sorted({job for ready in together for job in ready.after}))
            for ready in together:
                ready.after = after
        return packs

    def _earlier(self, pasts: Sequence[Past]) -> dict[str, Verdict]:
        outcomes: dict[str, Path] = {}
        records = {id(record): record for past in pasts for record in past.records()}
        self._recover([record for record in records.values() if record.job_id in ("", _UNKNOWN)])
        for past in pasts:
            outcomes |= dict.fromkeys(past.jobs(), Path(os.devnull))
            outcomes |= {record.job_id: self.context.outcome(record) for record in past.records()}
        known = {job: path for job, path in outcomes.items() if job not in ("", _UNKNOWN)}
        return self.context.poller.poll(known)

    def _recover(self, records: Iterable[Record]) -> None:
        """Find the ids of submissions whose answer was not recorded."""
        submissions: dict[str, list[Record]] = {}
        for record in records:
            submissions.setdefault(record.token, []).append(record)
        for together in submissions.values():
            try:
                ids = self.context.find(together)
            except CommandError:
                ids = [_UNKNOWN] * len(together)
            for record, identity in zip(together, ids, strict=True):
                record.job_id = identity or (_UNKNOWN if self._may_be_on_its_way(record) else "")
            self.context.journal.submitted([r for r in together if r.job_id not in ("", _UNKNOWN)])

    def _may_be_on_its_way(self, record: Record) -> bool:
        """sbatch outlives the controller that started it, until its time limit."""
        limit = self.context.settings.command_timeout_s + _SLACK_S
        # The time stamp may come from another machine's clock.
        age = max(time.time() - record.at, time.monotonic() - self._begun)
        return self.context.cluster.forgets and age < limit

    def _marked(self, ready: Ready, record: Record) -> bool:
        """Whether Snakemake has recorded the outputs of all steps as begun by that submission."""
        persistence = self.context.workflow.persistence
        steps = [member for member in members(ready.job) if member.output]
        return bool(steps) and all(record.token in persistence.external_jobids(step) for step in steps)

    def tell_of_leftovers(self) -> None:
        """Jobs of an earlier run that this one did not need: name those that still live, and forget the others."""
        journal = self.context.journal
        records = {
            r.job_id: r
            for r in journal.records.values()
            if not r.ended and r.job_id and r.key not in self.wanted
        }
        verdicts = self.context.poller.poll({job: self.context.outcome(r) for job, r in records.items()})
        for job, verdict in verdicts.items():
            if verdict.kind in (Kind.SUCCESS, Kind.FAILURE):
                journal.ended(records.pop(job), verdict.state)
        if records:
            ids = " ".join(sorted(records)[:20]) + (" ..." if len(records) > 20 else "")
            self.context.tell(
                f"{len(records)} jobs of an earlier run were not needed this time and may still run. To cancel them: "
                f"scancel {ids}"
            )
