"""What a state means, as tables."""

from __future__ import annotations

import pytest
from snakemake_executor_plugin_submitit.cluster.base import Seen
from snakemake_executor_plugin_submitit.cluster.words import backoff_s, clears_by_waiting, is_crowded
from snakemake_executor_plugin_submitit.follow.verdict import Kind, decide
from snakemake_executor_plugin_submitit.job.outcome import Outcome

RUNS = Outcome(None, "n1")
DECISIONS = [
    (Seen("PENDING", reason="Priority"), RUNS, 1e6, Kind.WAIT, "PENDING"),
    (Seen("PENDING", reason="Resources"), RUNS, 1e6, Kind.WAIT, "PENDING"),
    (Seen("PENDING", reason="BeginTime"), RUNS, 1e6, Kind.WAIT, "PENDING"),
    (Seen("PENDING", reason="AssocGrpCpuLimit"), RUNS, 1e6, Kind.WAIT, "PENDING"),
    (Seen("PENDING", reason="QOSMaxJobsPerUserLimit"), RUNS, 1e6, Kind.WAIT, "PENDING"),
    (Seen("PENDING", reason="PartitionTimeLimit"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="PartitionConfig"), RUNS, 5, Kind.WAIT, "PENDING"),
    (Seen("PENDING", reason="PartitionConfig"), RUNS, 60, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="PartitionNodeLimit"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="BadConstraints"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="QOSMaxCpuPerJobLimit"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="AssocMaxWallDurationPerJobLimit"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="QOSMinGRES"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="DependencyNeverSatisfied"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("PENDING", reason="launch failed requeued held"), RUNS, 0, Kind.DOOMED, "PENDING"),
    (Seen("REQUEUE_HOLD"), RUNS, 0, Kind.DOOMED, "REQUEUE_HOLD"),
    (Seen("RUNNING"), Outcome(0), 1e6, Kind.WAIT, "RUNNING"),
    (Seen("RUNNING"), Outcome(1), 1e6, Kind.WAIT, "RUNNING"),
    (Seen("COMPLETING"), RUNS, 1e6, Kind.WAIT, "COMPLETING"),
    (Seen("SUSPENDED"), RUNS, 1e6, Kind.WAIT, "SUSPENDED"),
    (Seen("NEW_WORD_OF_SLURM"), RUNS, 1e6, Kind.WAIT, "NEW_WORD_OF_SLURM"),
    (Seen("COMPLETED"), RUNS, 0, Kind.SUCCESS, "COMPLETED"),
    (Seen("FAILED", exit_code="1:0"), Outcome(1), 0, Kind.FAILURE, "FAILED"),
    (Seen("FAILED", exit_code="0:9"), RUNS, 0, Kind.FAILURE, "OUT_OF_MEMORY"),
    (Seen("FAILED", exit_code="1:0"), Outcome(137), 0, Kind.FAILURE, "OUT_OF_MEMORY"),
    (Seen("FAILED", reason="TimeLimit"), RUNS, 0, Kind.FAILURE, "TIMEOUT"),
    (Seen("OUT_OF_MEMORY"), RUNS, 0, Kind.FAILURE, "OUT_OF_MEMORY"),
    (Seen("TIMEOUT"), RUNS, 0, Kind.FAILURE, "TIMEOUT"),
    (Seen("CANCELLED"), RUNS, 0, Kind.FAILURE, "CANCELLED"),
    (Seen("NODE_FAIL"), RUNS, 10, Kind.WAIT, "NODE_FAIL"),
    (Seen("NODE_FAIL"), RUNS, 100, Kind.FAILURE, "NODE_FAIL"),
    (Seen("PREEMPTED"), RUNS, 10, Kind.WAIT, "PREEMPTED"),
    (Seen("PREEMPTED"), RUNS, 100, Kind.FAILURE, "PREEMPTED"),
    (None, Outcome(0), 0, Kind.SUCCESS, "COMPLETED"),
    (None, Outcome(2), 0, Kind.FAILURE, "FAILED"),
    (None, Outcome(-9), 0, Kind.FAILURE, "OUT_OF_MEMORY"),
    (None, RUNS, 599, Kind.WAIT, "UNKNOWN"),
    (None, RUNS, 600, Kind.FAILURE, "LOST"),
]


@pytest.mark.parametrize(("seen", "trace", "unchanged_s", "kind", "state"), DECISIONS)
def test_decision(seen: Seen | None, trace: Outcome, unchanged_s: float, kind: Kind, state: str) -> None:
    verdict = decide(seen, trace, unchanged_s=unchanged_s, patience_s=600)
    assert (verdict.kind, verdict.state) == (kind, state)
    assert verdict.why or kind in (Kind.WAIT, Kind.SUCCESS)


def test_a_job_that_can_never_start_says_slurms_reason() -> None:
    verdict = decide(Seen("PENDING", reason="PartitionTimeLimit"), RUNS, unchanged_s=0, patience_s=600)
    assert "PartitionTimeLimit" in verdict.why


POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
REFUSALS = [
    ("Unable to contact slurm controller (connect failure)", True, False),
    ("Socket timed out on send/recv operation", True, False),
    ("sbatch gave no answer within the time limit", True, False),
    ("Slurm temporarily unable to accept job, sleeping and retrying", True, False),
    (f"AssocMaxSubmitJobLimit sbatch: error: {POLICY}", True, True),
    (f"QOSMaxSubmitJobPerUserLimit sbatch: error: {POLICY}", True, True),
    (POLICY, True, True),
    (f"QOSMaxCpuPerJobLimit sbatch: error: {POLICY}", False, False),
    ("invalid partition specified: nowhere", False, False),
    ("Requested node configuration is not available", False, False),
    ("Invalid account or account/partition combination specified", False, False),
]


@pytest.mark.parametrize(("refusal", "later", "crowded"), REFUSALS)
def test_refusals(refusal: str, later: bool, crowded: bool) -> None:
    assert (clears_by_waiting(refusal), is_crowded(refusal)) == (later, crowded)


def test_back_off_doubles_and_is_bounded() -> None:
    assert [backoff_s(n) for n in (0, 1, 2, 3, 6, 7, 1000)] == [0, 2, 4, 8, 64, 120, 120]
