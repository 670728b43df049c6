"""The one exception that users are meant to read, and words for its messages."""

import difflib
from collections.abc import Collection, Iterable

MOST_LISTED = 4


class ObtransferError(Exception):
    """Something that the user can fix: the message says what was needed, what was got and what to do.

    Steps print its message alone, without a traceback.
    """


def listed(problems: Collection[str], separator: str = ", ") -> str:
    """The first few, and how many more there are: a message stays readable for a network of hundreds of layers."""
    shown = list(problems)[:MOST_LISTED]
    more = f" and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    return separator.join(shown) + more


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``did you mean 'x'? `` for the nearest known word; empty if none is near."""
    near = difflib.get_close_matches(str(word)[:200].lower(), list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
