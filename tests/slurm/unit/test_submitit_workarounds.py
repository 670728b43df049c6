"""The scheduler's timers: one stays, none at the end, nobody else's is touched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake_executor_plugin_submitit.workarounds import drop_timers

Wait = Callable[[Callable[[], bool]], None]


class Scheduler:
    """What Snakemake's method for starting a timer needs."""

    def __init__(self) -> None:
        self._open_jobs = threading.Semaphore(0)

    def look_later(self, seconds: int) -> None:
        """Start a timer as Snakemake does."""
        JobScheduler._schedule_reevalutation(self, seconds)


def timers() -> list[threading.Timer]:
    """All that still wait."""
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


@pytest.fixture(autouse=True)
def foreign() -> Iterator[threading.Timer]:
    """A timer that is not the scheduler's; at the end, none is left to be waited for."""
    timer = threading.Timer(1000, print)
    timer.start()
    yield timer
    for left in timers():
        left.cancel()


def test_of_snakemakes_timers_the_newest_stays(foreign: threading.Timer, wait_until: Wait) -> None:
    scheduler = Scheduler()
    for seconds in (1000, 1001, 1002):
        scheduler.look_later(seconds)
    newest = timers()[-1]
    assert drop_timers() == 2
    wait_until(lambda: timers() == [foreign, newest])
    assert drop_timers() == 0
    assert drop_timers(keep=0) == 1
    wait_until(lambda: timers() == [foreign])
    assert not scheduler._open_jobs.acquire(blocking=False)  # a cancelled timer wakes nobody


def test_the_one_that_stays_goes_off() -> None:
    scheduler = Scheduler()
    scheduler.look_later(1000)
    scheduler.look_later(0)
    drop_timers()
    assert scheduler._open_jobs.acquire(timeout=20)
