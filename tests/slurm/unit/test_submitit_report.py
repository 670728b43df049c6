"""What the user reads: failures, logs, efficiency, settings."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_submitit.cluster.base import Seen
from snakemake_executor_plugin_submitit.follow.efficiency import (
    Usage,
    own_usage,
    parse_usage,
    render,
    suggest,
    table,
)
from snakemake_executor_plugin_submitit.follow.report import clean_up, failure, log_path, own_words
from snakemake_executor_plugin_submitit.follow.verdict import Kind, Verdict
from snakemake_executor_plugin_submitit.job import outcome
from snakemake_executor_plugin_submitit.journal import Record, batch_folder, outcome_path
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_interface_common.exceptions import WorkflowError

PRINTED = """\
host: n1
Building DAG of jobs...
Using shell: /usr/bin/bash
Provided cores: 1 (use --cores to define parallelism)
[Mon Jan  1 00:00:00 2024]
rule train:
    output: model.pt
    jobid: 0
epoch 1
Outcomeback (most recent call last):
  File "train.py", line 3, in <module>
ValueError: no such task: 'x'
[Mon Jan  1 00:00:01 2024]
Error in rule train:
    jobid: 0
    output: model.pt
    shell:
        python train.py
        (command exited with non-zero exit code)
Shutting down, this might take some time.
Exiting because a job execution failed. Look above for error messages
"""


def test_the_steps_own_words_are_found_in_what_snakemake_prints() -> None:
    own = own_words(PRINTED, 4)
    assert "ValueError: no such task: 'x'" in own
    assert not any("Error in rule" in line or "Shutting down" in line for line in own)


def test_a_failure_says_what_where_why_and_the_last_words(tmp_path: Path) -> None:
    rule_log, job_log = tmp_path / "rule.log", tmp_path / "job.log"
    rule_log.write_text("")
    job_log.write_text(PRINTED)
    record = Record("key", "token", 0, "", "train", str(job_log), job_id="7")
    slurm_log = batch_folder(tmp_path, record) / "7.out"
    slurm_log.parent.mkdir(parents=True)
    slurm_log.write_text("submitit INFO\nslurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.\n")
    rule = SimpleNamespace(name="train")
    job = SimpleNamespace(rule=rule, wildcards_dict={"seed": "0"}, log=[rule_log], is_group=lambda: False)
    verdict = Verdict(Kind.FAILURE, "OUT_OF_MEMORY", "it needs more")
    text = failure(tmp_path, job, record, verdict, Seen("OUT_OF_MEMORY", "n1", exit_code="0:9"))
    for part in (
        "rule train (seed=0) failed: it needs more (OUT_OF_MEMORY)",
        "job 7 on n1; exit code 0:9",
        f"last lines of {job_log}",
        "ValueError: no such task: 'x'",
        "oom_kill event",
        f"log: {job_log}",
    ):
        assert part in text
    assert "submitit INFO" not in text
    outcome.write(outcome_path(tmp_path, record), {"host": "n2"})
    assert "  job 7 on n2\n" in failure(tmp_path, job, record, verdict, Seen(""))


def test_log_paths_say_rule_and_wildcards_and_never_clash(tmp_path: Path) -> None:
    plain = log_path(tmp_path, "train", [("seed", "0"), ("task", "upper")], "token", 3)
    assert plain == tmp_path / "train" / "seed=0,task=upper" / "token-3.log"
    odd = {
        log_path(tmp_path, "r", [("x", value)], "t", 0) for value in ("a/b", "a b", "a_b", "../..", "x" * 300)
    }
    assert len(odd) == 5
    assert all(len(path.relative_to(tmp_path).parts) == 3 and len(path.parent.name) < 130 for path in odd)


def test_old_logs_of_successes_go_and_those_of_failures_stay(tmp_path: Path) -> None:
    def make(name: str, age_days: float) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        for part in (path, path.parent):
            os.utime(part, (1e9 - 86400 * age_days,) * 2)
        return path

    old, failed, young = (
        make(f"logs/r/w/{name}-0.log", age) for name, age in (("old", 11), ("bad", 11), ("new", 1))
    )
    batch, kept = make("batches/old/0.json", 11), make("batches/bad/0.json", 11)
    assert clean_up(tmp_path, {"bad"}, 10, now=1e9) == 2
    assert [path.exists() for path in (old, failed, young, batch, kept)] == [False, True, True, False, True]


SACCT = """\
7_0|600|09:58.500||
7_0.batch|600|09:58.500|512000K|cpu=00:09:58,gres/gpumem=1024M,gres/gpuutil=37
7_0.extern|600|00:00.001|100K|
8|1-00:00:00|1-02:03:04|1.5G|
"""


def test_usage_is_the_largest_of_a_jobs_steps() -> None:
    assert parse_usage(SACCT) == {
        "7_0": Usage(600, 598.5, 500, 37),
        "8": Usage(None, 93784, 1536),
    }


def test_usage_by_the_jobs_own_account() -> None:
    trace = {"start": 10.0, "end": 70.0, "cpu_s": 50.0, "max_rss_mb": 99.0}
    assert own_usage(trace) == Usage(60, 50, 99)
    assert own_usage({"start": 10.0}) == Usage()


def test_the_table_compares_per_rule_and_suggests() -> None:
    wasteful = {"runtime_min": 240, "mem_mb": 16000, "cpus": 4}
    tight = {"runtime_min": 11, "mem_mb": 500}
    jobs = [
        (Record("a", "t", 0, "", "fit", "", wasteful), Usage(600, 600, 900)),
        (Record("b", "t", 1, "", "fit", "", wasteful), Usage(1200, 1200, 1000)),
        (Record("c", "t", 2, "", "score", "", tight), Usage(640, 630, 200)),
        (Record("d", "t", 3, "", "score", "", tight), Usage()),
    ]
    rows = table(jobs)
    assert [
        (r["rule"], r["jobs"], r["used_min_median"], r["used_min_max"], r["used_mb_max"]) for r in rows
    ] == [
        ("fit", 2, 15.0, 20.0, 1000),
        ("score", 1, 10.7, 10.7, 200),
    ]
    assert rows[0]["cpu_percent"] == 25  # 1800 CPU seconds of 1800 s × 4 CPUs
    assert rows[0]["suggestion"] == {"runtime": 26, "mem_mb": 1300, "threads": 1}
    assert rows[1]["suggestion"] == {"runtime": 14, "mem_mb": 260}
    text = render(rows)
    assert text.splitlines()[2].split()[:2] == ["fit", "2"]
    assert yaml.safe_load(text.partition("Suggested for the profile:\n")[2]) == {
        "set-resources": {"fit": {"runtime": 26, "mem_mb": 1300}, "score": {"runtime": 14, "mem_mb": 260}},
        "set-threads": {"fit": 1},
    }


def test_nothing_is_suggested_for_a_group_which_is_no_rule() -> None:
    record = Record("a", "t", 0, "", "packed", "", {"runtime_min": 240, "cpus": 4}, is_group=True)
    rows = table([(record, Usage(60, 60, 100))])
    assert rows[0]["suggestion"] == {} and "Suggested" not in render(rows)


def test_a_fitting_request_gets_no_suggestion() -> None:
    row = {
        "rule": "r", "requested_min": 30, "used_min_max": 20.0, "requested_mb": 1000, "used_mb_max": 700, "cpus": 1, "cpu_percent": 90,
    }  # fmt: skip
    assert suggest(row) == {}


def test_every_setting_has_a_default_and_a_help_text() -> None:
    for field in fields(ExecutorSettings):
        assert len(field.metadata["help"]) > 20, field.name
        assert isinstance(field.type, type), f"{field.name}: Snakemake needs the type itself"
    ExecutorSettings().check()


def test_impossible_settings_are_named_together() -> None:
    with pytest.raises(WorkflowError) as raised:
        ExecutorSettings(cluster="moon", array_size=0, requeues=-1).check()
    for part in ("--submitit-cluster", "slurm, local, debug", "--submitit-array-size", "--submitit-requeues"):
        assert part in str(raised.value)
