"""Jobs that are ready meet their earlier submissions: adopted, replaced, or sent in packs."""

from __future__ import annotations

import os

from .adoption import Action, choose
from .commands import CommandError
from .fingerprint import members
from .ledger import Record
from .run import Ready, Run
from .sending import Follow
from .states import Verdict
from .submission import pack
from .trace import read_dict

_UNKNOWN = "?"  # an id that is still to be asked for


class Dispatcher:
    """Works in the submitter's thread; `follow(ready, record, register)` is called for each adopted job."""

    def __init__(self, run: Run, follow: Follow) -> None:
        self.run, self.follow = run, follow
        self.asked: set[str] = set()

    def prepare(self, items: list[Ready]) -> tuple[list[list[Ready]], list[Ready]]:
        """Packs to send, and jobs that wait because the cluster can't be asked about their earlier submission."""
        self.asked |= {ready.key for ready in items}
        verdicts = self._earlier(items)
        actions = [self._action(ready, self._record(ready), verdicts) for ready in items]
        parts = {
            action: [r for r, chosen in zip(items, actions, strict=True) if chosen is action]
            for action in Action
        }
        self._adopt(parts[Action.ADOPT])
        self._replace(parts[Action.REPLACE])
        new = parts[Action.SUBMIT] + parts[Action.REPLACE]
        packs = (
            pack(new, lambda ready: (ready.request, ready.after), self.run.cluster.max_batch()) if new else []
        )
        return packs, parts[Action.WAIT]

    def _record(self, ready: Ready) -> Record | None:
        return self.run.ledger.records.get(ready.key)

    def _adopt(self, items: list[Ready]) -> None:
        for ready in items:
            record = self._record(ready)
            assert record is not None
            record.ended = ""
            self.follow(ready, record, not self._marked(ready, record))
        if items:
            self.run.tell(f"Adopted {len(items)} jobs of an earlier run.")

    def _replace(self, items: list[Ready]) -> None:
        old = []
        for ready in items:
            record = self._record(ready)
            assert record is not None
            ready.after = (record.job_id,)
            old.append(record)
            self.run.ledger.ended(record, "CANCELLING")
        if old:
            self.run.tell(
                f"{len(old)} jobs of an earlier run have changed since: cancelling and sending again."
            )
            self.run.cancel([record.job_id for record in old])

    def _action(self, ready: Ready, record: Record | None, verdicts: dict[str, Verdict]) -> Action:
        if record is None or not record.job_id:
            return Action.SUBMIT
        if record.job_id == _UNKNOWN:
            return Action.WAIT
        return choose(
            record,
            self.run.watcher.seen.get(record.job_id),
            verdicts.get(record.job_id),
            fingerprint=ready.fingerprint,
            request=ready.request.as_dict(),
            marked=self._marked(ready, record),
            outputs_exist=all(os.path.lexists(path) for path in ready.job.output),
        )

    def _earlier(self, items: list[Ready]) -> dict[str, Verdict]:
        records = [record for ready in items if (record := self._record(ready)) is not None]
        records = [record for record in records if record.ended in ("", "COMPLETED", "CANCELLING")]
        found: dict[str, dict[int, str]] = {}
        for record in records:
            if record.job_id in ("", _UNKNOWN):
                self._recover(record, found)
        traces = {r.job_id: self.run.trace(r) for r in records if r.job_id not in ("", _UNKNOWN)}
        return self.run.watcher.poll(traces)

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

    def _marked(self, ready: Ready, record: Record) -> bool:
        """Whether Snakemake has all outputs noted as begun by that very job."""
        persistence = self.run.workflow.persistence
        parts = [member for member in members(ready.job) if member.output]
        return all(record.job_id in persistence.external_jobids(member) for member in parts)
