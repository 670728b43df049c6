"""Jobs that are ready meet their earlier submissions: adopted, replaced, or sent in packs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .adoption import Action, choose, is_alive
from .commands import CommandError
from .fingerprint import members
from .ledger import Record
from .run import Ready, Run
from .sending import Follow
from .states import Verdict
from .submission import pack
from .trace import read_dict

_UNKNOWN = "?"  # an id that is still to be asked for
_OPEN = ("", "CANCELLING")  # what the journal says of a job that may still be on the cluster
_SLACK_S = 2.0


@dataclass(frozen=True)
class Past:
    """What was sent before: the job's own last submission, and other jobs that write the same files.

    (Grouped otherwise, or by a rule of another name; a step of theirs may be at it right now.)
    """

    own: Record | None
    rivals: tuple[Record, ...]

    def records(self) -> list[Record]:
        """All of them."""
        return [*([self.own] if self.own else []), *self.rivals]

    def jobs(self) -> set[str]:
        """Ids of all jobs that may still write these files, those included that the own one was sent behind."""
        before = self.own.after if self.own and not self.own.job_id else ()
        return {record.job_id for record in self.records() if record.job_id} | set(before)


class Dispatcher:
    """Works in the submitter's thread; `follow(ready, record)` is called for each adopted job."""

    def __init__(self, run: Run, follow: Follow) -> None:
        self.run, self.follow = run, follow
        self.asked: set[str] = set()
        self._begun = time.monotonic()

    def prepare(self, items: list[Ready]) -> tuple[list[list[Ready]], list[Ready]]:
        """Packs to send, and jobs that wait because the cluster can't be asked about their earlier submission."""
        self.asked |= {ready.key for ready in items}
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
        ledger = self.run.ledger
        makers = ledger.makers(ready.parts)
        own = ledger.records.get(ready.key)
        if own is None:  # the same steps, unchanged, may have been sent as a part of a larger group
            larger = [record for record in makers if ready.parts.items() <= record.parts.items()]
            own = max(larger, key=lambda record: record.at, default=None)
        if own is not None and own.ended not in _OPEN and not self._marked(ready, own):
            own = None  # over, and Snakemake knows
        return Past(own, tuple(r for r in makers if r.ended in _OPEN and r is not own))

    def _action(self, ready: Ready, past: Past, verdicts: dict[str, Verdict]) -> Action:
        action = self._alone(ready, past.own, verdicts)
        if action in (Action.ADOPT, Action.WAIT):
            return action
        if not past.jobs() <= set(verdicts):
            return Action.WAIT
        ready.after = tuple(sorted(job for job in past.jobs() if is_alive(self.run.watcher.seen.get(job))))
        return Action.REPLACE if ready.after else Action.SUBMIT

    def _alone(self, ready: Ready, record: Record | None, verdicts: dict[str, Verdict]) -> Action:
        if record is None or not record.job_id:
            return Action.SUBMIT
        if record.job_id == _UNKNOWN:
            return Action.WAIT
        same = record.fingerprint == ready.fingerprint or record.key != ready.key
        return choose(
            record,
            self.run.watcher.seen.get(record.job_id),
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
            self.run.tell(f"Adopted {len(found)} jobs of an earlier run.")

    def _replace(self, found: list[tuple[Ready, Past]]) -> None:
        old = sorted({job for ready, _ in found for job in ready.after})
        for record in {r.key: r for _, past in found for r in past.records() if r.job_id in old}.values():
            self.run.ledger.ended(record, "CANCELLING")
        if old:
            self.run.tell(
                f"{len(old)} jobs of an earlier run have changed since: cancelling and sending again."
            )
            self.run.cancel(old)

    def _packs(self, items: list[Ready]) -> list[list[Ready]]:
        if not items:
            return []
        packs = pack(items, lambda ready: (ready.request, bool(ready.after)), self.run.cluster.max_batch())
        for together in packs:  # one submission has one list of jobs to start behind
            after = tuple(sorted({job for ready in together for job in ready.after}))
            for ready in together:
                ready.after = after
        return packs

    def _earlier(self, pasts: Iterable[Past]) -> dict[str, Verdict]:
        traces: dict[str, Path] = {}
        found: dict[str, dict[int, str]] = {}
        for past in pasts:
            for record in past.records():
                if record.job_id in ("", _UNKNOWN):
                    self._recover(record, found)
            traces |= dict.fromkeys(past.jobs(), Path(os.devnull))
            traces |= {record.job_id: self.run.trace(record) for record in past.records()}
        return self.run.watcher.poll({job: path for job, path in traces.items() if job not in ("", _UNKNOWN)})

    def _recover(self, record: Record, found: dict[str, dict[int, str]]) -> None:
        """The id of a submission whose answer was never written down: from the queue, or from the job itself."""
        try:
            if record.token not in found:
                found[record.token] = self.run.cluster.find(record.token)
        except CommandError:
            record.job_id = _UNKNOWN
            return
        own = str(read_dict(self.run.trace(record)).get("job_id", ""))
        record.job_id = found[record.token].get(record.index) or own
        if record.job_id:
            self.run.ledger.submitted([record])
        elif self._may_be_on_its_way(record):
            record.job_id = _UNKNOWN

    def _may_be_on_its_way(self, record: Record) -> bool:
        """An sbatch outlives the controller that started it, until its time limit."""
        limit = self.run.settings.command_timeout_s + _SLACK_S
        age = max(
            time.time() - record.at, time.monotonic() - self._begun
        )  # the clock may have been another machine's
        return self.run.cluster.forgets and age < limit

    def _marked(self, ready: Ready, record: Record) -> bool:
        """Whether Snakemake has outputs of all its steps noted as begun by that very submission."""
        persistence = self.run.workflow.persistence
        steps = [member for member in members(ready.job) if member.output]
        return bool(steps) and all(record.token in persistence.external_jobids(step) for step in steps)
