"""What a restarted controller finds out about earlier submissions, and a journal or a cluster that fails."""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from runs import Workflow
from snakemake_executor_plugin_submitit.cluster.base import (
    Batch,
    CommandError,
    Refused,
    Request,
    Seen,
    Unclear,
)
from snakemake_executor_plugin_submitit.executor import Executor
from snakemake_executor_plugin_submitit.follow.poll import Poller
from snakemake_executor_plugin_submitit.job import outcome
from snakemake_executor_plugin_submitit.journal import Journal, JournalError, Record, outcome_path, read
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.submit.context import Context, Ready
from snakemake_executor_plugin_submitit.submit.earlier import EarlierJobs
from snakemake_executor_plugin_submitit.submit.send import Sender
from snakemake_executor_plugin_submitit.workarounds import pack_again, sent_together

from .conftest import FakeCluster

RUNNING, PENDING = Seen("RUNNING"), Seen("PENDING", reason="Priority")


@dataclass
class Job:
    """As much of Snakemake's job as the earlier looks at; `marks` holds what is noted of its outputs."""

    output: tuple[str, ...]
    marks: dict[str, str] = field(default_factory=dict)

    def is_group(self) -> bool:
        return False

    def register(self, external_jobid: str) -> None:
        self.marks |= dict.fromkeys(self.output, external_jobid)


@dataclass
class Cluster:
    """Knows `jobs`; None as a value makes it fail."""

    jobs: dict[str, Seen] | None
    tokens: dict[str, dict[int, str]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    forgets: bool = True
    kill_wait_s: float = 30.0
    complaint: str = ""

    def max_batch(self) -> int:
        return 100

    def observe(self, jobs: list[str]) -> dict[str, Seen | None]:
        if self.jobs is None:
            raise CommandError("squeue failed")
        return {job: self.jobs.get(job) for job in jobs}

    def find(self, token: str) -> dict[int, str]:
        return self.tokens.get(token, {})

    def cancel(self, jobs: list[str], alive: list[str]) -> int:
        self.cancelled += jobs
        return 1


class Scene:
    """A earlier after a restart, with a journal that holds `records`."""

    def __init__(self, folder: Path, cluster: Cluster, *records: Record) -> None:
        self.cluster, self.followed, self.told = cluster, [], []
        self.marks: dict[str, str] = {}
        journal = Journal(folder)
        journal.open(10)
        journal.intend(list(records))
        for record in records:
            if record.job_id:
                journal.submitted([record])
        self.journal = journal
        workflow = SimpleNamespace(persistence=SimpleNamespace(external_jobids=self._noted))
        poller = Poller(cluster, 1800, self.told.append)
        settings = ExecutorSettings(command_timeout_s=10)
        context = Context(settings, folder, workflow, journal, cluster, poller, self.told.append)
        self.earlier = EarlierJobs(
            context, lambda ready, record: self.followed.append((ready.key, record.job_id))
        )

    def _noted(self, job: Job) -> list[str]:
        return [self.marks[path] for path in job.output if path in self.marks]

    def ready(self, key: str, *outputs: str, fingerprint: str = "same") -> Ready:
        job = Job(outputs, self.marks)
        return Ready(job, key, fingerprint, dict.fromkeys(outputs, fingerprint), Request(), "command")

    def prepare(self, *items: Ready) -> tuple[list[list[str]], list[str]]:
        packs, later = self.earlier.prepare(list(items))
        return [[ready.key for ready in pack] for pack in packs], [ready.key for ready in later]


def record(key: str, *outputs: str, job_id: str = "", fingerprint: str = "same", **more: Any) -> Record:
    parts = dict.fromkeys(outputs, fingerprint)
    return Record(key, f"token-{key}", 0, fingerprint, "rule", "log", parts=parts, job_id=job_id, **more)


def test_an_sbatch_that_outlived_its_controller_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, Cluster({}), record("a", "out"))
    assert scene.prepare(scene.ready("a", "out")) == ([], ["a"])
    scene.cluster.jobs, scene.cluster.tokens = {"7": PENDING}, {"token-a": {0: "7"}}
    assert scene.prepare(scene.ready("a", "out")) == ([], [])
    assert scene.followed == [("a", "7")] and scene.marks == {"out": "token-a"}


@pytest.mark.parametrize("age_s", [12.5, -3600.0])
def test_it_is_waited_for_until_its_time_limit_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float
) -> None:
    scene = Scene(tmp_path, Cluster({}), record("a", "out"))
    scene.journal.records["a"].at = time.time() - age_s
    if age_s < 0:  # written by a machine whose clock is an hour ahead: this controller's own time counts
        assert scene.prepare(scene.ready("a", "out")) == ([], ["a"])
        monkeypatch.setattr(scene.earlier, "_begun", time.monotonic() - 12.5)
    assert scene.prepare(scene.ready("a", "out")) == ([["a"]], [])


def test_a_submission_that_was_never_made_stays_behind_the_job_it_was_to_replace(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Cluster({"5": RUNNING}), record("a", "out", after=["5", "4"]))
    scene.journal.records["a"].at = 0.0
    ready = scene.ready("a", "out")
    assert scene.prepare(ready) == ([["a"]], [])
    assert ready.after == ("5",) and scene.cluster.cancelled == ["5"]


def test_another_job_that_writes_the_same_file_is_replaced(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Cluster({"5": RUNNING}), record("old name", "out", job_id="5"))
    ready = scene.ready("new name", "out")
    scene.journal.records["old name"].fingerprint = "other"
    scene.journal.records["old name"].parts = {"out": "other"}
    assert scene.prepare(ready) == ([["new name"]], [])
    assert ready.after == ("5",) and scene.cluster.cancelled == ["5"]
    assert scene.journal.records["old name"].ended == "CANCELLING"


def test_nothing_is_sent_while_nobody_knows_whether_another_job_writes_the_file(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Cluster(None), record("old name", "out", job_id="5", fingerprint="other"))
    assert scene.prepare(scene.ready("new name", "out"), scene.ready("b", "else")) == ([["b"]], ["new name"])


def test_steps_of_a_larger_group_are_adopted_with_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Cluster({"5": RUNNING}), record("group", "one", "two", "three", job_id="5"))
    assert scene.prepare(scene.ready("rest", "two", "three")) == ([], [])
    assert scene.followed == [("rest", "5")]
    changed = scene.ready("rest of it", "one", fingerprint="other")
    assert scene.prepare(changed) == ([["rest of it"]], []) and changed.after == ("5",)


def test_jobs_behind_others_still_share_a_submission(tmp_path: Path) -> None:
    old = [
        record(name, f"out {name}", job_id=job, fingerprint="other") for name, job in (("a", "5"), ("b", "6"))
    ]
    scene = Scene(tmp_path, Cluster({"5": RUNNING, "6": PENDING}), *old)
    items = [scene.ready(name, f"out {name}") for name in "abc"]
    packs, _ = scene.prepare(*items)
    assert sorted(packs) == [["a", "b"], ["c"]]
    assert [ready.after for ready in items] == [("5", "6"), ("5", "6"), ()]


def test_a_step_without_outputs_runs_each_time(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Cluster({"5": Seen("COMPLETED")}), record("a", job_id="5"))
    scene.journal.records["a"].ended = "COMPLETED"
    assert scene.prepare(scene.ready("a")) == ([["a"]], [])


class Unsure(Cluster):
    """Accepts a submission without an answer that can be read, or refuses it by mistake."""

    def __init__(self, answer: Refused) -> None:
        super().__init__({})
        self.answer, self.submitted = answer, 0

    def submit(self, batch: Batch) -> list[str]:
        self.submitted += 1
        raise self.answer


class Sending(Job):
    """As much of Snakemake's job as the sender looks at."""

    rule = SimpleNamespace(name="rule")
    wildcards_dict: ClassVar[dict[str, str]] = {}

    def get_wait_for_files(self) -> list[str]:
        return []


def sending(folder: Path, cluster: Unsure, count: int) -> tuple[Sender, list[Ready], list[str]]:
    """A sender, jobs that it has not yet sent, and what it follows."""
    scene = Scene(folder, cluster)
    workflow = SimpleNamespace(execution_settings=SimpleNamespace(latency_wait=5))
    scene.earlier.context.workflow = workflow
    followed: list[str] = []
    sender = Sender(scene.earlier.context, lambda _, record: followed.append(record.job_id))
    items = [
        Ready(Sending((f"{i}",)), f"{i}", "same", {f"{i}": "same"}, Request(), "x") for i in range(count)
    ]
    return sender, items, followed


def test_a_submission_without_an_answer_is_looked_for_and_not_repeated(tmp_path: Path) -> None:
    cluster = Unsure(Unclear("sbatch must print a job id"))
    sender, items, followed = sending(tmp_path, cluster, 2)
    for found in ({}, {}, {0: "7_0"}):
        if items[0].record:
            cluster.tokens = {items[0].record.token: found}
        with pytest.raises(Unclear):
            sender.send(items)
    assert cluster.submitted == 1
    assert items[0].record is not None
    cluster.tokens = {items[0].record.token: {0: "7_0", 1: "7_1"}}
    sender.send(items)
    assert cluster.submitted == 1 and followed == ["7_0", "7_1"]


def test_a_refusal_by_mistake_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Unsure(Refused("invalid partition"))
    sender, items, followed = sending(tmp_path, cluster, 1)
    monkeypatch.setattr(cluster, "find", lambda _: {0: "7"} if cluster.submitted else {})
    sender.send(items)
    assert cluster.submitted == 1 and followed == ["7"]


def test_a_job_that_has_ended_is_found_by_its_outcome(tmp_path: Path) -> None:
    cluster = Unsure(Unclear("sbatch must print a job id"))
    sender, items, followed = sending(tmp_path, cluster, 1)
    with pytest.raises(Unclear):
        sender.send(items)
    assert items[0].record is not None
    path = outcome_path(tmp_path, items[0].record)
    path.parent.mkdir(parents=True)
    outcome.write(path, {"job_id": "7"})
    sender.send(items)
    assert cluster.submitted == 1 and followed == ["7"]


class Disk:
    """A file on a disk with so much room."""

    def __init__(self, path: Path, room: int) -> None:
        self.file, self.room = path.open("ab", buffering=0), room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(bytes(data[: self.room]))
        self.room -= written
        return written

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


def test_a_full_disk_stops_submissions_but_spoils_no_line_of_the_journal(tmp_path: Path) -> None:
    told: list[str] = []
    journal = Journal(tmp_path, told.append)
    journal.open(10)
    first, second, third = record("a", "x", job_id="5"), record("b", "y"), record("c", "z")
    journal.intend([first])
    disk = Disk(tmp_path / "journal.jsonl", 20)
    journal._file = disk
    with pytest.raises(JournalError, match=r"No space left on device.*will be adopted"):
        journal.intend([second])
    assert "b" not in journal.records
    for state in ("COMPLETED", "FAILED"):
        journal.ended(first, state)
    assert first.ended == "FAILED" and len(told) == 1
    disk.room = 10_000
    journal.intend([third])
    assert set(read(tmp_path / "journal.jsonl")) == {"a", "c"}


def test_a_journal_in_a_forbidden_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=r"The journal in .*file/folder can't be written"):
        Journal(tmp_path / "file" / "folder").open(10)


class Component:
    """A part of a group as Snakemake has it."""

    def __init__(self, *outputs: str) -> None:
        self.jobs = [Job((path,)) for path in outputs]


def _chunks(size: int, items: Any) -> list[tuple[Any, ...]]:
    items = list(items)
    return [tuple(items[first : first + size]) for first in range(0, len(items), size)]


def test_groups_are_packed_as_they_were_sent_and_else_by_their_outputs(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open(10)
    journal.intend([record("group", "e", "b", job_id="5"), record("failed", "c", "d", job_id="6")])
    journal.ended(journal.records["failed"], "FAILED")
    parts = [Component(name) for name in "fedcba"]
    packed = pack_again(2, parts, sent_together(tmp_path), _chunks)
    assert [[c.jobs[0].output[0] for c in chunk] for chunk in packed] == [["a", "c"], ["d", "f"], ["b", "e"]]


def test_the_queue_and_the_accounting_are_complained_of_separately() -> None:
    told: list[str] = []
    cluster = Cluster(None, complaint="sacct failed")
    poller = Poller(cluster, 1800, told.append)
    for now in (0.0, 10.0, 20.0, 30.0):
        assert poller.poll({"5": Path("none")}, now=now) == {}
    assert len(told) == 1 and "has not answered 3 times" in told[0]
    cluster.jobs = {}
    for now in (100.0, 110.0):
        poller.poll({"5": Path("none")}, now=now)
    assert "answers again" in told[1] and "the accounting does not answer" in told[2] and len(told) == 3


@pytest.mark.parametrize(
    ("failures", "complaint", "next_s"), [(0, "", 3.0), (1, "", 1.0), (0, "sacct gave no answer", 1.0)]
)
def test_a_query_that_hangs_does_not_put_off_the_next_poll(
    failures: int, complaint: str, next_s: float
) -> None:
    def poll(_: Any) -> dict[str, Any]:
        time.sleep(0.3)
        return {}

    executor = Executor.__new__(Executor)
    poller = SimpleNamespace(failures=failures, poll=poll)
    cluster = SimpleNamespace(complaint=complaint)
    executor.context = SimpleNamespace(poller=poller, cluster=cluster, outcome=lambda _: Path("none"))
    executor.workflow = SimpleNamespace(
        remote_execution_settings=SimpleNamespace(seconds_between_status_checks=1)
    )
    executor.stopping = False
    info = SimpleNamespace(external_jobid="5", aux={"record": None})

    async def active() -> list[Any]:
        return [job async for job in executor.check_active_jobs([info])]

    assert asyncio.run(active()) == [info]
    assert executor.next_seconds_between_status_checks == pytest.approx(next_s, rel=0.3)


def test_a_poll_without_jobs_needs_nothing() -> None:
    """Snakemake's thread polls a second after its start, also when `__post_init__` still waits for a slow disk."""

    async def active() -> list[Any]:
        return [job async for job in Executor.__new__(Executor).check_active_jobs([])]

    assert asyncio.run(active()) == []


@pytest.mark.slow
def test_outputs_are_noted_as_incomplete_before_sbatch_answers(
    cluster: FakeCluster, workflow: Workflow, wait_until: Callable[..., None]
) -> None:
    workflow.write('rule make:\n    output: "out"\n    shell: "echo half > {output}; sleep 60"\n')
    cluster.control("delay_sbatch", "30")
    run = workflow.start()
    wait_until(lambda: cluster.calls("sbatch") != [], message=lambda: run.output)
    notes = [path for path in (workflow.folder / ".snakemake/incomplete").rglob("*") if path.is_file()]
    journal = list(read(workflow.folder / ".snakemake/submitit/journal.jsonl").values())
    assert [json.loads(path.read_text()) for path in notes] == [{"external_jobid": journal[0].token}]
    run.kill_all()


@pytest.mark.slow
def test_a_rule_that_changed_its_name_does_not_write_beside_its_old_job(
    cluster: FakeCluster, workflow: Workflow, wait_until: Callable[..., None]
) -> None:
    rule = 'rule NAME:\n    output: "out"\n    shell: "echo NAME >> count; WAIT; echo NAME > {output}"\n'
    workflow.write(rule.replace("NAME", "first").replace("WAIT", "sleep 100"))
    run = workflow.start()
    wait_until((workflow.folder / "count").exists, message=lambda: run.output)
    run.kill_all()
    workflow.write(rule.replace("NAME", "second").replace("WAIT", "true"))
    assert "1 jobs of an earlier run have changed since" in workflow.run()
    assert (workflow.folder / "out").read_text() == "second\n" and len(cluster.calls("scancel")) == 1
    assert "100|CANCELLED" in cluster.command("squeue", "--me")
