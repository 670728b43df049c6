"""The signals that ask a step to end soon."""

from __future__ import annotations

import signal
from collections.abc import Callable

SIGNALS = (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)
"""USR2 and USR1 are SLURM's warnings of the time limit or of preemption; `kill` and `scancel` send TERM."""


def stop_requested() -> Callable[[], bool]:
    """Catch `SIGNALS` from now on, and return a function that says whether one has arrived."""
    caught: list[int] = []  # a second signal during threading.Event.set would wait for the first for ever
    for number in SIGNALS:
        signal.signal(number, lambda number, _: caught.append(number))
    return lambda: bool(caught)
