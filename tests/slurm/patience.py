"""How long a test waits: as long as this machine needs, and no longer than SLURM says that it makes sense."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator

TIMERS_S = 60.0  # what the timers in `cluster_files` add up to: requeue, dead node, kill, scheduler
_UNITS = 60  # a wait may take as long as so many starts of Snakemake
_SOON_S = 30.0  # before a wait of this length nobody measures
_POLL_S, _ASK_S = 0.1, 2.0

_slowest = 0.0


def unit_s(again: bool = False) -> float:
    """Seconds that a trivial piece of work takes here: Python starts and imports Snakemake, as in every job.

    Measured once in a session, and `again` where a wait gets long; the largest value counts.
    """
    global _slowest
    if again or not _slowest:
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "import snakemake.cli"], check=True, stdout=subprocess.DEVNULL)
        _slowest = max(_slowest, time.monotonic() - begun)
    return _slowest


def allowance_s(again: bool = False) -> float:
    """How long one thing that SLURM or Snakemake has to do may take here."""
    return TIMERS_S + _UNITS * unit_s(again)


def nothing_wrong() -> str:
    """For waits that nothing ends early."""
    return ""


def wait_until(
    condition: Callable[[], bool],
    message: str | Callable[[], str] = "",
    *,
    hopeless: Callable[[], str] = nothing_wrong,
    progress: Callable[[], Hashable] = lambda: None,
    error: type[Exception] = AssertionError,
) -> None:
    """Poll a condition until it is true.

    The machine is measured again while the wait goes on, so that a load that comes later counts too.

    Args:
        condition: what has to come true.
        message: what to say if it does not.
        hopeless: why it can't come true any more, "" while it can; asked every two seconds.
        progress: while this value changes, the wait begins anew.
        error: what to raise.
    """
    begun = time.monotonic()
    state = progress()
    allowed = _allowances()
    until, ask_at = begun + next(allowed), begun + _ASK_S
    while not condition():
        now = time.monotonic()
        if now >= ask_at:
            ask_at = now + _ASK_S
            if (why := hopeless()) and not condition():
                raise error(f"{_text(message)} ({why}, after {now - begun:.0f} s)")
            if (new := progress()) != state:
                state, allowed = new, _allowances()
                until = now + next(allowed)
        if now >= until:
            more = next(allowed, None)
            if more is None:
                raise error(f"{_text(message)} (waited {now - begun:.0f} s; a start takes {unit_s():.1f} s)")
            until = time.monotonic() + more
        time.sleep(_POLL_S)


def _allowances() -> Iterator[float]:
    yield _SOON_S
    for _ in range(2):
        yield allowance_s(again=True)


def _text(message: str | Callable[[], str]) -> str:
    return (message() if callable(message) else message) or "it never came true"
