"""What to do with a job that an earlier controller submitted: a pure decision.

| earlier job             | same code, params, inputs | changed since        |
|-------------------------|---------------------------|----------------------|
| cluster gives no answer | WAIT                      | WAIT                 |
| running                 | ADOPT                     | REPLACE              |
| pending                 | ADOPT (REPLACE if it asks for other resources now) | REPLACE |
| succeeded               | ADOPT                     | SUBMIT               |
| failed, lost, cancelled | SUBMIT                    | SUBMIT               |

REPLACE cancels it and submits again behind it (`--dependency=afterany`), so that two jobs never write one file. So does
SUBMIT where another job writes one of the files and lives (`dispatch` looks for those).
"""

from __future__ import annotations

from enum import Enum

from .commands import Seen
from .ledger import Record
from .states import ALIVE, RESTARTED, Kind, Verdict


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
        record: its last submission, if there was one.
        seen: how SLURM describes that submission; None if it does not know it.
        verdict: what that means (`states.decide`); None if the cluster could not be asked.
        same: whether the job's code, params and inputs are what they were then.
        request: what it would ask for now.
        marked: whether Snakemake still has the job as begun and not ended under that job id.
        outputs_exist: whether all its outputs are there.
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


def is_alive(seen: Seen | None) -> bool:
    """Whether SLURM may still run it, or run it again."""
    return seen is not None and (seen.state in ALIVE or seen.state in RESTARTED)
