"""Which classes a task has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from obtransfer.errors import ObtransferError

ALL = "all"
DRAWN = 10
_MOST_TOLD = 10


def choose_classes(wanted: Any, names: Sequence[str], seed: int) -> list[int]:
    """The classes of a task, as indices in the data set's.

    Drawn ones are a part of one permutation of all classes: the parts of one seed are disjoint.

    Args:
        wanted: "all"; a list of indices and names; a mapping with `draw` (how many), `seed` and `part` (0 unless given);
            or None, which draws ten, or all where there are fewer.
        names: of the data set's classes.
        seed: for classes that are drawn without a seed of their own.

    Returns:
        Indices: in the listed order, or ascending.

    Raises:
        ObtransferError: all classes that do not exist, are listed twice or may be meant in two ways; or more than there
            are.
    """
    if wanted == ALL:
        return list(range(len(names)))
    if wanted is None:
        wanted = {"draw": min(DRAWN, len(names))}
    if isinstance(wanted, Mapping):
        return _drawn(wanted["draw"], wanted.get("seed", seed), wanted.get("part", 0), len(names))
    found = [_index(entry, names) for entry in wanted]
    problems = [entry for entry in found if isinstance(entry, str)]
    indices = [entry for entry in found if isinstance(entry, int)]
    twice = sorted({index for index in indices if indices.count(index) > 1})
    problems += [f"{names[index]!r} (index {index}) is listed twice" for index in twice]
    if problems:
        more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
        raise ObtransferError(f"classes: {'; '.join(problems[:_MOST_TOLD])}{more}")
    return indices


def _drawn(count: int, seed: int, part: int, total: int) -> list[int]:
    end = (part + 1) * count
    if end > total:
        raise ObtransferError(
            f"classes: part {part} of draws of {count} needs {end} classes, but the data set has {total}; draw fewer"
        )
    drawn = np.random.default_rng(seed).permutation(total)[end - count : end]
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
    return ", ".join(names[:_MOST_TOLD]) + (
        f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    )
