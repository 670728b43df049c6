"""Packing, pace, and what the submitter does when the controller refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from snakemake_executor_plugin_submitit.cluster.base import Refused, Unclear
from snakemake_executor_plugin_submitit.submit.queue import Callbacks, Pace, SubmissionQueue, can_wait, pack


def test_equal_jobs_share_a_pack_up_to_its_size() -> None:
    assert pack(["a1", "b1", "a2", "a3", "b2"], lambda item: item[0], 2) == [
        ["a1", "a2"],
        ["a3"],
        ["b1", "b2"],
    ]


def test_the_pace_lets_so_many_through_in_a_minute() -> None:
    pace = Pace(2)
    assert pace.wait_s(0.0) == 0
    pace.count(0.0)
    pace.count(10.0)
    assert pace.wait_s(20.0) == 40.0
    assert pace.wait_s(60.0) == 0


@pytest.mark.parametrize(
    ("new", "live", "waits"),
    [
        ("a", "", False),  # nothing is queued: it may start at once
        ("a", "aP aP aP aP aR", True),
        ("a", "aP aP aP aR aR", True),
        ("a", "aP aP aR aR aR", False),  # the queue soon runs dry
        ("aa", "aP aP aP aP aR", False),  # a quarter and more: a decent array
        ("a", "bP bP bP bP bP", False),  # others' queue says nothing
        ("ab", "aP aP aP aP aP bR bR bR bR", False),
        ("ab", "aP aP aP aP aP bP bP bP bP bR", True),
        ("a", "aP aP aP aP aX", True),
        ("a", "aX aX aX aX aX", False),  # sent, and not seen yet
    ],
)
def test_jobs_wait_for_others_while_equal_ones_queue(new: str, live: str, waits: bool) -> None:
    words = {"P": "PENDING", "R": "RUNNING", "X": ""}
    assert can_wait(list(new), [(job[0], words[job[1]]) for job in live.split()]) is waits


class Recorder:
    """Stands for the executor: refuses what it is told to, and keeps what happens."""

    def __init__(self, refusals: list[str | Refused]) -> None:
        self.refusals, self.sent, self.given_up, self.told = refusals, [], [], []
        self.broken: list[Exception] = []
        self.changed = threading.Event()

    def submitter(self, patience_s: float = 60.0) -> SubmissionQueue:
        callbacks = Callbacks(self.prepare, self.send, self.give_up, self.told.append, self._broken)
        return SubmissionQueue(callbacks, 0.05, patience_s, Pace(1000))

    def prepare(self, items: list[Any]) -> tuple[list[list[Any]], list[Any]]:
        return [items], []

    def send(self, items: list[Any]) -> None:
        if self.refusals:
            refusal = self.refusals.pop(0)
            raise refusal if isinstance(refusal, Refused) else Refused(refusal)
        self.sent.append(items)
        self.changed.set()

    def give_up(self, items: list[Any], refusal: Refused) -> None:
        self.given_up.append((items, str(refusal)))
        self.changed.set()

    def _broken(self, error: Exception) -> None:
        self.broken.append(error)
        self.changed.set()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_submitit.submit.queue.backoff_s", lambda *_, **__: 0.05)


def test_jobs_that_come_shortly_after_each_other_go_together() -> None:
    recorder = Recorder([])
    submitter = recorder.submitter()
    submitter.add([1, 2])
    submitter.add([3])
    assert recorder.changed.wait(5)
    submitter.stop()
    assert recorder.sent == [[1, 2, 3]]


def test_a_controller_that_does_not_answer_is_asked_again(fast: None) -> None:
    recorder = Recorder(["Socket timed out", "Unable to contact slurm controller"])
    submitter = recorder.submitter()
    submitter.add([1])
    assert recorder.changed.wait(5)
    submitter.stop()
    assert recorder.sent == [[1]] and not recorder.given_up
    assert len(recorder.told) == 1 and "Socket timed out" in recorder.told[0]


def test_an_impossible_request_is_given_up_at_once(fast: None) -> None:
    recorder = Recorder(["invalid partition specified"])
    submitter = recorder.submitter()
    submitter.add([1, 2])
    assert recorder.changed.wait(5)
    submitter.stop()
    assert recorder.given_up == [([1, 2], "invalid partition specified")] and not recorder.sent


def test_patience_ends(fast: None) -> None:
    recorder = Recorder(["Socket timed out"] * 1000)
    submitter = recorder.submitter(patience_s=0.3)
    submitter.add([1])
    assert recorder.changed.wait(5)
    submitter.stop()
    assert recorder.given_up == [([1], "Socket timed out")]


def test_a_full_queue_halves_the_array_and_is_never_given_up(
    fast: None, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    recorder = Recorder(["AssocMaxSubmitJobLimit"] * 4)
    submitter = recorder.submitter(patience_s=0.0)
    submitter.add([1, 2, 3, 4])
    wait_until(lambda: sum(map(len, recorder.sent)) == 4)
    submitter.stop()
    assert sorted(item for items in recorder.sent for item in items) == [1, 2, 3, 4]
    assert max(map(len, recorder.sent)) < 4 and not recorder.given_up


def test_a_pack_that_may_have_been_accepted_stays_whole(fast: None) -> None:
    recorder = Recorder([Unclear("job submit limit"), Unclear("job submit limit")])
    submitter = recorder.submitter()
    submitter.add([1, 2])
    assert recorder.changed.wait(5)
    submitter.stop()
    assert recorder.sent == [[1, 2]] and "looking for them" in recorder.told[0] and not recorder.given_up


def test_a_pack_that_is_never_found_is_given_up(fast: None) -> None:
    recorder = Recorder([Unclear("printed nothing")] * 1000)
    submitter = recorder.submitter(patience_s=0.3)
    submitter.add([1])
    assert recorder.changed.wait(5)
    submitter.stop()
    assert recorder.given_up == [([1], "printed nothing")] and not recorder.sent


def test_an_unexpected_error_is_handed_on() -> None:
    recorder = Recorder([])
    submitter = recorder.submitter()
    submitter.callbacks.send = lambda _: {}["missing"]
    submitter.add([1])
    assert recorder.changed.wait(5)
    assert isinstance(recorder.broken[0], KeyError)


def test_jobs_that_come_all_the_time_are_sent_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_submitit.submit.queue._LONGEST", 3)
    recorder = Recorder([])
    submitter = recorder.submitter()
    number, until = 0, time.monotonic() + 10
    while not recorder.sent and time.monotonic() < until:
        submitter.add([number])
        number += 1
        time.sleep(submitter.collect_s / 10)
    submitter.stop()
    assert recorder.sent and len(recorder.sent[0]) > 3


def test_what_can_wait_is_sent_with_what_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder([])
    submitter = recorder.submitter()
    submitter.callbacks.can_wait = lambda items: len(items) < 3
    submitter.add([1])
    assert not recorder.changed.wait(1)
    submitter.add([2, 3])
    assert recorder.changed.wait(5) and recorder.sent == [[1, 2, 3]]
    recorder.changed.clear()
    monkeypatch.setattr("snakemake_executor_plugin_submitit.submit.queue._HOLD_S", 0.3)
    submitter.add([4])
    assert recorder.changed.wait(5) and recorder.sent[1] == [4]
    submitter.stop()
