"""A progress bar in the step's log: ``tail -f`` shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int, description: str) -> Iterator[Callable[..., None]]:
    """Give a function ``(done, total=...)`` that shows how much is done by now."""
    from tqdm import tqdm

    with tqdm(total=total, desc=description, file=sys.stderr, mininterval=2.0, ascii=True) as shown:

        def report(done: int, total: int = total) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield report
