"""What a job's state means: pure decisions, one table each.

SLURM's word is the truth. What the job itself wrote down (its trace) counts only where SLURM has forgotten the job.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from .commands import Seen
from .trace import Trace


class Kind(Enum):
    """What to do with a job: wait for it, report it as done or failed, or cancel it and report it as failed."""

    WAIT = "wait"
    SUCCESS = "success"
    FAILURE = "failure"
    DOOMED = "doomed"


@dataclass(frozen=True)
class Verdict:
    """A decision with SLURM's own word for the state and one sentence for the user."""

    kind: Kind
    state: str = ""
    why: str = ""


FAILED = {
    "FAILED": "the step failed",
    "TIMEOUT": "the step reached its time limit: it needs a larger runtime",
    "OUT_OF_MEMORY": "the step used more memory than it asked for: it needs a larger mem_mb",
    "CANCELLED": "the job was cancelled",
    "DEADLINE": "the job's deadline passed",
    "REVOKED": "the job was revoked",
}
# SLURM itself starts these again where the site allows it, and for a moment shows the state of the lost attempt.
RESTARTED = {
    "NODE_FAIL": "its node failed, and SLURM did not start it again",
    "PREEMPTED": "it was preempted, and SLURM did not start it again",
    "BOOT_FAIL": "its node did not boot, and SLURM did not start it again",
    "LAUNCH_FAILED": "SLURM could not launch it",
    "RECONFIG_FAIL": "its node could not be reconfigured",
}
ALIVE = {
    "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "REQUEUED", "REQUEUE_FED",
    "REQUEUE_HOLD", "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "POWER_UP_NODE", "UPDATE_DB", "EXPEDITING",
}  # fmt: skip

# Reasons of a pending job that no waiting clears; limits on what many jobs hold together do clear.
_NEVER = re.compile(
    r"(?i)^(PartitionNodeLimit|PartitionTimeLimit|BadConstraints|InvalidAccount|InvalidQOS|QOSNotAllowed"
    r"|AccountNotAllowed|DependencyNeverSatisfied|MaxMemPerLimit|JobHoldMaxRequeue|NonExistentPartition"
    r"|(Assoc|QOS)Max\w*Per(Job|Node)\w*|(Assoc|QOS)Max(Wall|Node|Cpu|Memory|Gres)\w*PerJob\w*|QOSMin\w+"
    r"|(AssocGrp|QOSGrp)\w*(RunMinutes|Minutes|Billing)Limit.*never.*|.*launch failed requeued held.*)"
)
# SLURM's first word for any misfit with the partition; seconds later the scheduler says which limit it is.
_VAGUE, _VAGUE_S = "PartitionConfig", 20.0
GRACE_S = 90.0


def decide(seen: Seen | None, trace: Trace, *, unchanged_s: float, patience_s: float) -> Verdict:
    """One job's verdict.

    Args:
        seen: what squeue, else sacct, says; None when both answered and know nothing of the job.
        trace: what the job wrote itself.
        unchanged_s: how long `seen` has been like this.
        patience_s: how long a job may stay unknown to SLURM without a sign of its end.
    """
    if seen is None:
        return _forgotten(trace, unchanged_s, patience_s)
    state = seen.state
    if state == "COMPLETED":
        return Verdict(Kind.SUCCESS, state)
    if state in FAILED:
        return Verdict(Kind.FAILURE, *_failure(seen, trace))
    if state in RESTARTED:
        over = unchanged_s >= GRACE_S
        return Verdict(Kind.FAILURE if over else Kind.WAIT, state, RESTARTED[state])
    vague = seen.reason == _VAGUE and unchanged_s >= _VAGUE_S
    if state == "PENDING" and (vague or _NEVER.match(seen.reason)):
        return Verdict(Kind.DOOMED, state, f"SLURM can never start it: {seen.reason}")
    if state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
        return Verdict(Kind.DOOMED, state, f"SLURM holds it after a failed launch: {seen.reason or state}")
    return Verdict(Kind.WAIT, state, seen.reason if state == "PENDING" else "")


def _failure(seen: Seen, trace: Trace) -> tuple[str, str]:
    killed = seen.exit_code.endswith(":9") or trace.exit_code in (-9, 137)
    if seen.state == "FAILED" and (killed or seen.reason == "OutOfMemory"):
        return (
            "OUT_OF_MEMORY",
            "the step was killed (signal 9), most likely for its memory: it needs a larger mem_mb",
        )
    if seen.state == "FAILED" and seen.reason == "TimeLimit":
        return "TIMEOUT", FAILED["TIMEOUT"]
    return seen.state, FAILED[seen.state]


def _forgotten(trace: Trace, unknown_s: float, patience_s: float) -> Verdict:
    if trace.exit_code == 0:
        return Verdict(Kind.SUCCESS, "COMPLETED", "by its own account: SLURM no longer knows it")
    if trace.exit_code is not None:
        memory = trace.exit_code in (-9, 137)
        return Verdict(
            Kind.FAILURE,
            "OUT_OF_MEMORY" if memory else "FAILED",
            f"the step ended with status {trace.exit_code}",
        )
    if unknown_s >= patience_s:
        return Verdict(
            Kind.FAILURE,
            "LOST",
            f"SLURM has not known it for {patience_s / 60:.0f} min and it left no sign of its end: it was killed, or the "
            "cluster forgot it",
        )
    return Verdict(Kind.WAIT, "UNKNOWN")


# sbatch's refusals that another try can clear; anything else is the request's own fault.
_LATER = re.compile(
    r"(?i)(socket timed out|unable to contact|connection (refused|timed out|reset)|temporarily|zero bytes"
    r"|transport endpoint|no answer within|protocol authentication|munge|unexpected message|slurm_persist"
    r"|controller is in standby|try again|communication)"
)


def clears_by_waiting(refusal: str) -> bool:
    """Whether sbatch's refusal is about the controller's health or a full queue, not about this request."""
    return is_crowded(refusal) or bool(_LATER.search(refusal))


def is_crowded(refusal: str) -> bool:
    """Whether fewer jobs at once could be accepted.

    SLURM ends the message of every limit with the same words ("job submit limit, user's size and/or time limits"), so the
    limit's own name decides where there is one.
    """
    limits = re.findall(r"(?:Assoc|QOS)\w*Limit", refusal)
    if limits:
        return all("Submit" in limit for limit in limits)
    return bool(re.search(r"(?i)job submit limit|max(imum)? job count", refusal))


def backoff_s(failures: int, first_s: float = 2.0, most_s: float = 120.0) -> float:
    """Seconds to wait after `failures` failures in a row: doubling, bounded."""
    return 0.0 if failures <= 0 else min(most_s, first_s * 2.0 ** min(failures - 1, 30))
