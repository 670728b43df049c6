"""Tables: CSV files whose first line is a ``#`` comment with the card."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obtransfer.artifacts.cards import UNREADABLE, check_card, new_card
from obtransfer.artifacts.files import atomic_path, damaged, missing


@dataclass(frozen=True)
class Table:
    """Rows of text with the metadata they were written with; `digest` is the SHA-256 of both."""

    rows: list[dict[str, str]]
    metadata: dict[str, Any]
    digest: str


def write_table(
    path: Path | str,
    rows: Sequence[Mapping[str, Any]],
    *,
    kind: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write rows as CSV below a one-line comment with the checksummed card, atomically.

    Columns are the keys of the first row. `pandas.read_csv(path, comment="#")` reads it too.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    body = text.getvalue()
    card = new_card(kind, metadata)
    card["digest"] = _digest(card, body)
    with atomic_path(path) as partial:
        partial.write_text(f"# {json.dumps(card, sort_keys=True)}\n{body}", encoding="utf-8")


def read_table(path: Path | str, *, kind: str) -> Table:
    """Read and verify what `write_table` wrote.

    Raises:
        ObtransferError: missing, of another kind, truncated or altered; names the file and how to remake it.
    """
    path = Path(path)
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        card = json.loads(head.removeprefix("# "))
        expected = card.pop("digest")
        found = _digest(card, body)
    except FileNotFoundError:
        raise missing(path, kind) from None
    except UNREADABLE as error:
        raise damaged(path, f"its card can't be read ({type(error).__name__}: {error})") from error
    check_card(path, card, kind, expected, found)
    return Table(list(csv.DictReader(io.StringIO(body))), card["metadata"], expected)


def _digest(card: Mapping[str, Any], body: str) -> str:
    return hashlib.sha256((json.dumps(card, sort_keys=True) + body).encode()).hexdigest()
