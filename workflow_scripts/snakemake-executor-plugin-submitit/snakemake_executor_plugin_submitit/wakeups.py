"""Fewer useless looks of Snakemake's scheduler at jobs that can't start yet.

While jobs wait for a free place (`-j`), Snakemake 9 looks for some that can start whenever a job has ended, and once more a
second after each look (`--max-jobs-per-timespan`); that look is followed by another one, and so on. After some hundred jobs
it looks hundreds of times a second, each time at all jobs that are ready. One of these timers is enough, and none at the
end, where Snakemake would wait for it.
"""

from __future__ import annotations

import threading

_SCHEDULER = "snakemake.scheduling.job_scheduler"


def drop_needless(*, keep: int = 1) -> int:
    """Cancel all of the scheduler's timers but the newest, whose look sees all that the others' would; returns how many."""
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    waiting = [timer for timer in timers if getattr(timer.function, "__module__", "") == _SCHEDULER]
    needless = waiting[: len(waiting) - keep] if len(waiting) > keep else []
    for timer in needless:
        timer.cancel()
    return len(needless)
