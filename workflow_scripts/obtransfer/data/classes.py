"""Which classes a task has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from obtransfer.errors import ObtransferError
from obtransfer.settings import Draw

Classes = Sequence[int | str] | Literal["all"] | Draw | None
DRAWN = 10
_MOST_NAMED = 10


def choose_classes(wanted: Classes, names: Sequence[str], seed: int) -> list[int]:
    """The classes of a task, as indices in the data set's.

    Drawn ones are a part of one permutation of all classes: the parts of one seed are disjoint.

    Args:
        wanted: indices and names; "all"; how many to draw; or None, which draws ten, or all where there are fewer.
        names: of the data set's classes.
        seed: of a draw without a seed of its own.

    Returns:
        Indices: in the listed order, or ascending.

    Raises:
        ObtransferError: classes do not exist, are listed twice or are ambiguous (all are named), or there are too few.
    """
    if wanted == "all":
        return list(range(len(names)))
    if wanted is None:
        wanted = Draw(draw=min(DRAWN, len(names)))
    if isinstance(wanted, Draw):
        return _drawn(wanted, seed if wanted.seed is None else wanted.seed, len(names))
    found = [_index(entry, names) for entry in wanted]
    problems = [entry for entry in found if isinstance(entry, str)]
    indices = [entry for entry in found if isinstance(entry, int)]
    twice = sorted({index for index in indices if indices.count(index) > 1})
    problems += [f"{names[index]!r} (index {index}) is listed twice" for index in twice]
    if problems:
        more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise ObtransferError(f"classes: {'; '.join(problems[:_MOST_NAMED])}{more}")
    return indices


def _drawn(wanted: Draw, seed: int, total: int) -> list[int]:
    end = (wanted.part + 1) * wanted.draw
    if end > total:
        raise ObtransferError(
            f"classes: part {wanted.part} of draws of {wanted.draw} needs {end} classes, but the data set has {total}; "
            "draw fewer"
        )
    drawn = np.random.default_rng(seed).permutation(total)[end - wanted.draw : end]
    return sorted(int(index) for index in drawn)


def _index(entry: int | str, names: Sequence[str]) -> int | str:
    """The class's index, or what is wrong with it."""
    if isinstance(entry, str):
        if entry in names:
            return names.index(entry)
        near = difflib.get_close_matches(entry, names, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; there are {_some(names)}"
        return f"no class is called {entry!r}{hint}"
    if not 0 <= entry < len(names):
        return f"there is no index {entry}: indices go from 0 to {len(names) - 1}"
    if str(entry) in names and names[entry] != str(entry):
        return f"{entry} is both the index of {names[entry]!r} and a class's name; write the name in quotes"
    return entry


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (
        f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    )
