"""What to do with a job that an earlier controller submitted: a pure decision.

| earlier job             | same code, params, inputs | changed since        |
|-------------------------|---------------------------|----------------------|
| cluster gives no answer | WAIT                      | WAIT                 |
| running                 | ADOPT                     | REPLACE              |
| pending                 | ADOPT (REPLACE if it now requests other resources) | REPLACE |
| succeeded               | ADOPT                     | SUBMIT               |
| failed, lost, cancelled | SUBMIT                    | SUBMIT               |

REPLACE cancels the earlier job and submits again behind it (`--dependency=afterany`), so that two jobs never write one
file. `earlier` turns SUBMIT into REPLACE if another living job writes one of the files.
"""

from __future__ import annotations

from enum import Enum

from ..cluster.base import Seen
from ..cluster.words import is_alive
from ..follow.verdict import Kind, Verdict
from ..journal import Record


class Action(Enum):
    """What becomes of a job that is ready to be submitted."""

    SUBMIT = "submit"
    ADOPT = "adopt"
    REPLACE = "replace"
    WAIT = "wait"


def choose(
    record: Record | None,
    seen: Seen | None,
    verdict: Verdict | None,
    *,
    same: bool,
    request: dict[str, object],
    marked: bool,
    outputs_exist: bool,
) -> Action:
    """One ready job's action.

    Args:
        record: its last submission, if there is one.
        seen: how SLURM describes that submission; None if SLURM does not know it.
        verdict: what that means (`verdict.decide`); None if the cluster gave no answer.
        same: whether the job's code, params and inputs are what they were then.
        request: what the job would request now.
        marked: whether Snakemake has recorded the job as begun by that submission and not ended.
        outputs_exist: whether all its outputs exist.
    """
    if record is None:
        return Action.SUBMIT
    if record.ended and not (record.ended == "COMPLETED" and marked) and record.ended != "CANCELLING":
        return Action.SUBMIT
    if verdict is None:
        return Action.WAIT
    same = same and record.ended != "CANCELLING"
    if verdict.kind is Kind.SUCCESS:
        return Action.ADOPT if same and outputs_exist else Action.SUBMIT
    if verdict.kind is Kind.WAIT and not is_alive(seen):
        return Action.ADOPT if same else Action.SUBMIT  # forgotten by SLURM, no sign of its end yet
    if not is_alive(seen) or verdict.kind is Kind.FAILURE:
        return Action.SUBMIT
    if not same or verdict.kind is Kind.DOOMED:
        return Action.REPLACE
    waiting = seen is not None and seen.state == "PENDING"
    return Action.REPLACE if waiting and record.request != request else Action.ADOPT
