"""What becomes of a job of an earlier run, as a table; and the journal that remembers it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.cluster.base import Seen
from snakemake_executor_plugin_submitit.follow.verdict import Kind, Verdict
from snakemake_executor_plugin_submitit.journal import Journal, LockedError, Record, read
from snakemake_executor_plugin_submitit.submit.adoption import Action, choose
from snakemake_executor_plugin_submitit.submit.fingerprint import digest, file_state

WAIT, SUCCESS, FAILURE, DOOMED = (Verdict(kind, "X") for kind in Kind)
RUNNING, PENDING, OVER = Seen("RUNNING"), Seen("PENDING", reason="Priority"), Seen("COMPLETED")


def record(ended: str = "") -> Record:
    return Record("key", "token", 0, "same", "rule", "log", {"cpus": 2}, job_id="7", ended=ended)


# (record, seen, verdict, fingerprint, request, marked, outputs exist) → action
TABLE = [
    (None, None, None, "same", 2, False, False, Action.SUBMIT),
    (record(), None, None, "same", 2, True, True, Action.WAIT),
    (record(), None, None, "other", 2, True, True, Action.WAIT),
    (record(), RUNNING, WAIT, "same", 2, True, True, Action.ADOPT),
    (record(), RUNNING, WAIT, "same", 2, False, False, Action.ADOPT),
    (record(), RUNNING, WAIT, "same", 9, True, True, Action.ADOPT),
    (record(), RUNNING, WAIT, "other", 2, True, True, Action.REPLACE),
    (record(), PENDING, WAIT, "same", 2, True, False, Action.ADOPT),
    (record(), PENDING, WAIT, "same", 9, True, False, Action.REPLACE),
    (record(), PENDING, WAIT, "other", 2, True, False, Action.REPLACE),
    (record(), PENDING, DOOMED, "same", 2, True, False, Action.REPLACE),
    (record(), Seen("NODE_FAIL"), WAIT, "same", 2, True, False, Action.ADOPT),
    (record(), OVER, SUCCESS, "same", 2, True, True, Action.ADOPT),
    (record(), OVER, SUCCESS, "same", 2, True, False, Action.SUBMIT),
    (record(), OVER, SUCCESS, "other", 2, True, True, Action.SUBMIT),
    (record(), Seen("FAILED"), FAILURE, "same", 2, True, True, Action.SUBMIT),
    (record(), None, FAILURE, "same", 2, True, True, Action.SUBMIT),
    (record(), Seen("NODE_FAIL"), FAILURE, "same", 2, True, True, Action.SUBMIT),
    (record(), None, WAIT, "same", 2, True, True, Action.ADOPT),
    (record(), None, WAIT, "other", 2, True, True, Action.SUBMIT),
    (record("FAILED"), RUNNING, WAIT, "same", 2, True, True, Action.SUBMIT),
    (record("COMPLETED"), OVER, SUCCESS, "same", 2, True, True, Action.ADOPT),
    (record("COMPLETED"), OVER, SUCCESS, "same", 2, False, True, Action.SUBMIT),
    (record("CANCELLING"), RUNNING, WAIT, "same", 2, True, True, Action.REPLACE),
    (record("CANCELLING"), Seen("CANCELLED"), FAILURE, "same", 2, True, True, Action.SUBMIT),
    (record("CANCELLING"), None, None, "same", 2, True, True, Action.WAIT),
]


@pytest.mark.parametrize(
    ("earlier", "seen", "verdict", "fingerprint", "cpus", "marked", "outputs", "action"), TABLE
)
def test_choice(
    earlier: Record | None,
    seen: Seen | None,
    verdict: Verdict | None,
    fingerprint: str,
    cpus: int,
    marked: bool,
    outputs: bool,
    action: Action,
) -> None:
    chosen = choose(
        earlier,
        seen,
        verdict,
        same=fingerprint == "same",
        request={"cpus": cpus},
        marked=marked,
        outputs_exist=outputs,
    )
    assert chosen is action


def test_the_journal_comes_back_after_a_kill(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open(keep_days=10)
    first, second = record(), Record("other", "token", 1, "f", "rule", "log")
    journal.intend([first, second])
    first.job_id = "7_0"
    journal.submitted([first])
    journal.ended(first, "COMPLETED")
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"record": {"key": "torn"')
    found = read(tmp_path / "journal.jsonl")
    assert {key: (r.job_id, r.ended) for key, r in found.items()} == {
        "key": ("7_0", "COMPLETED"),
        "other": ("", ""),
    }


def test_an_answer_to_an_older_submission_changes_nothing(tmp_path: Path) -> None:
    lines = [
        {"record": record().__dict__ | {"token": "new", "job_id": "8"}},
        {"key": "key", "token": "old", "ended": "FAILED"},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read(tmp_path / "journal.jsonl")["key"].ended == ""


@pytest.mark.parametrize(
    "bad",
    [
        *(
            "null",
            "7",
            '"text"',
            "[]",
            "{}",
            "\x00\x00",
            "[" * 100_000,
            '{"record": null}',
            '{"key": [], "token": 1}',
        ),
        *('{"record": {"key": "a"}}', '{"key": "key", "token": "token", "ended": null}'),
        json.dumps({"record": record().__dict__ | {"at": None}}),
        json.dumps({"record": record().__dict__ | {"key": 7}}),
        json.dumps({"record": record().__dict__ | {"parts": ["out"]}}),
        json.dumps({"record": record().__dict__ | {"parts": {"out": 3}}}),
    ],
)
def test_bad_lines_are_named_and_passed_over(tmp_path: Path, bad: str) -> None:
    good = [json.dumps({"record": record().__dict__ | {"key": key, "at": 9e9}}) for key in ("key", "other")]
    (tmp_path / "journal.jsonl").write_text(f"{good[0]}\n{bad}\n{good[1]}\n")
    told: list[str] = []
    journal = Journal(tmp_path, told.append)
    journal.open(keep_days=10)
    assert sorted(journal.records) == ["key", "other"] and journal.records["key"].ended == ""
    assert len(told) == 1 and "journal.jsonl: line 2 can't be read" in told[0]


def test_a_journal_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text(json.dumps({"record": record().__dict__ | {"attempt": 2}}) + "\n")
    assert list(read(tmp_path / "journal.jsonl")) == ["key"]


def test_what_ended_long_ago_is_forgotten_and_what_did_not_end_is_kept(tmp_path: Path) -> None:
    lines = [
        {"record": record(ended).__dict__ | {"key": ended or "alive", "at": 1.0}}
        for ended in ("", "COMPLETED")
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal = Journal(tmp_path)
    journal.open(keep_days=10)
    assert list(journal.records) == ["alive"]


def test_a_second_controller_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from snakemake_executor_plugin_submitit.journal import Journal\n"
    code += f"journal = Journal(Path({str(tmp_path)!r})); journal.open(1); print('open', flush=True); time.sleep(60)"
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3] / "workflow_scripts/snakemake-executor-plugin-submitit")
    }
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert holder.stdout is not None and holder.stdout.readline()
    with pytest.raises(LockedError, match=f"process {holder.pid} on"):
        Journal(tmp_path).open(1)
    holder.kill()
    holder.communicate()
    Journal(tmp_path).open(1)


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    told: list[str] = []
    Journal(tmp_path, told.append).open(1)
    assert len(told) == 1 and "can't be locked (No locks available)" in told[0]


def test_a_file_is_its_content_when_small_and_its_stamp_when_large(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    large.write_bytes(b"x" * (1 << 20))
    before = file_state(str(small)), file_state(str(large))
    for path in (small, large):
        os.utime(path, (1, 1))
    after = file_state(str(small)), file_state(str(large))
    assert before[0] == after[0] and before[1] != after[1]
    small.write_bytes(b"y")
    assert file_state(str(small)) != before[0]
    assert file_state(str(tmp_path / "missing"))[1] is None


def test_a_digest_does_not_depend_on_the_order_of_a_set() -> None:
    assert digest([{"b", "a"}, 1]) == digest([{"a", "b"}, 1]) != digest([{"a"}, 1])
