"""What a job's state means for the workflow: a pure decision.

SLURM's word is the truth. The job's own outcome file counts only if SLURM has forgotten the job.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..cluster.base import Seen
from ..cluster.words import FAILED, RESTARTED, never_starts
from ..job.outcome import Outcome

GRACE_S = 90.0  # how long SLURM may take to start a lost job again
_KILLED = (-9, 137)


class Kind(Enum):
    """What to do with a job: wait for it, report success or failure, or cancel it and report failure."""

    WAIT = "wait"
    SUCCESS = "success"
    FAILURE = "failure"
    DOOMED = "doomed"


@dataclass(frozen=True)
class Verdict:
    """A decision, with SLURM's word for the state and one sentence for the user."""

    kind: Kind
    state: str = ""
    why: str = ""


def decide(seen: Seen | None, outcome: Outcome, *, unchanged_s: float, patience_s: float) -> Verdict:
    """One job's verdict.

    Args:
        seen: what squeue, else sacct, says; None if both answered and do not know the job.
        outcome: what the job wrote itself.
        unchanged_s: how long `seen` has been the same.
        patience_s: how long SLURM may not know a job that left no sign of its end.
    """
    if seen is None:
        return _forgotten(outcome, unchanged_s, patience_s)
    state = seen.state
    if state == "COMPLETED":
        return Verdict(Kind.SUCCESS, state)
    if state in FAILED:
        return Verdict(Kind.FAILURE, *_failure(seen, outcome))
    if state in RESTARTED:
        over = unchanged_s >= GRACE_S
        return Verdict(Kind.FAILURE if over else Kind.WAIT, state, RESTARTED[state])
    if state == "PENDING" and never_starts(seen.reason, unchanged_s):
        return Verdict(Kind.DOOMED, state, f"SLURM can never start it: {seen.reason}")
    if state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
        return Verdict(Kind.DOOMED, state, f"SLURM holds it after a failed launch: {seen.reason or state}")
    return Verdict(Kind.WAIT, state, seen.reason if state == "PENDING" else "")


def _failure(seen: Seen, outcome: Outcome) -> tuple[str, str]:
    killed = seen.exit_code.endswith(":9") or outcome.exit_code in _KILLED
    if seen.state == "FAILED" and (killed or seen.reason == "OutOfMemory"):
        why = "the step was killed (signal 9), most likely for its memory: it needs a larger mem_mb"
        return "OUT_OF_MEMORY", why
    if seen.state == "FAILED" and seen.reason == "TimeLimit":
        return "TIMEOUT", FAILED["TIMEOUT"]
    return seen.state, FAILED[seen.state]


def _forgotten(outcome: Outcome, unknown_s: float, patience_s: float) -> Verdict:
    if outcome.exit_code == 0:
        return Verdict(Kind.SUCCESS, "COMPLETED", "as the job itself recorded: SLURM no longer knows it")
    if outcome.exit_code is not None:
        state = "OUT_OF_MEMORY" if outcome.exit_code in _KILLED else "FAILED"
        return Verdict(Kind.FAILURE, state, f"the step ended with status {outcome.exit_code}")
    if unknown_s >= patience_s:
        return Verdict(
            Kind.FAILURE,
            "LOST",
            f"SLURM has not known it for {patience_s / 60:.0f} min and it left no sign of its end: it was killed, or the "
            "cluster forgot it",
        )
    return Verdict(Kind.WAIT, "UNKNOWN")
