"""What SLURM's words mean: states of jobs, reasons of pending jobs, and messages of sbatch."""

from __future__ import annotations

import re

from .base import Seen

FAILED = {
    "FAILED": "the step failed",
    "TIMEOUT": "the step reached its time limit: it needs a larger runtime",
    "OUT_OF_MEMORY": "the step used more memory than it requested: it needs a larger mem_mb",
    "CANCELLED": "the job was cancelled",
    "DEADLINE": "the job's deadline passed",
    "REVOKED": "the job was revoked",
}
# SLURM starts these again where the site allows it, and for a moment shows the state of the lost attempt.
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
HELD = ("JobHeldUser", "JobHeldAdmin")

# Reasons of a pending job that no waiting clears. Limits on all jobs of a user together do clear.
_NEVER = re.compile(
    r"(?i)^(PartitionNodeLimit|PartitionTimeLimit|BadConstraints|InvalidAccount|InvalidQOS|QOSNotAllowed"
    r"|AccountNotAllowed|DependencyNeverSatisfied|MaxMemPerLimit|JobHoldMaxRequeue|NonExistentPartition"
    r"|(Assoc|QOS)Max\w*Per(Job|Node)\w*|(Assoc|QOS)Max(Wall|Node|Cpu|Memory|Gres)\w*PerJob\w*|QOSMin\w+"
    r"|(AssocGrp|QOSGrp)\w*(RunMinutes|Minutes|Billing)Limit.*never.*|.*launch failed requeued held.*)"
)
# SLURM's first word for any conflict with the partition; seconds later the scheduler says which limit it is.
_VAGUE, _VAGUE_S = "PartitionConfig", 20.0
# Refusals that another try can clear; any other is the request's own fault.
_LATER = re.compile(
    r"(?i)(socket timed out|unable to contact|connection (refused|timed out|reset)|temporarily|zero bytes"
    r"|transport endpoint|no answer within|protocol authentication|munge|unexpected message|slurm_persist"
    r"|controller is in standby|try again|communication)"
)


def is_alive(seen: Seen | None) -> bool:
    """Whether SLURM may still run this job, or run it again."""
    return seen is not None and (seen.state in ALIVE or seen.state in RESTARTED)


def never_starts(reason: str, unchanged_s: float) -> bool:
    """Whether a job that has been pending for this reason for so long can never start."""
    return bool(_NEVER.match(reason)) or (reason == _VAGUE and unchanged_s >= _VAGUE_S)


def clears_by_waiting(refusal: str) -> bool:
    """Whether a refusal is about the controller's health or a full queue, not about this request."""
    return is_crowded(refusal) or bool(_LATER.search(refusal))


def is_crowded(refusal: str) -> bool:
    """Whether SLURM could accept fewer jobs at once.

    SLURM ends the message of every limit with the same words ("job submit limit, user's size and/or time limits"), so the
    limit's own name decides if there is one.
    """
    limits = re.findall(r"(?:Assoc|QOS)\w*Limit", refusal)
    if limits:
        return all("Submit" in limit for limit in limits)
    return bool(re.search(r"(?i)job submit limit|max(imum)? job count", refusal))


def backoff_s(failures: int, first_s: float = 2.0, most_s: float = 120.0) -> float:
    """Seconds to wait after `failures` failures in a row: doubling, bounded."""
    return 0.0 if failures <= 0 else min(most_s, first_s * 2.0 ** min(failures - 1, 30))
