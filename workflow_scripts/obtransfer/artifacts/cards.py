"""The card of an artefact: what it is, what it was made from, and the digest of both card and content."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from obtransfer.artifacts.files import damaged, missing
from obtransfer.errors import ObtransferError

SCHEMA_VERSION = 1
CARD = "obtransfer"
"""The key of the card among the metadata of a safetensors file."""
UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError, struct.error
)  # fmt: skip
"""What reading an altered card or header may raise."""


def new_card(kind: str, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A card without its digest."""
    return {"schema": SCHEMA_VERSION, "kind": kind, "metadata": json.loads(json.dumps(dict(metadata or {})))}


def check_card(path: Path, card: Mapping[str, Any], kind: str, expected: str, found: str) -> None:
    """Compare a file's card with what was asked for, and its digest with that of its content.

    Raises:
        ObtransferError: altered, written by another version, or of another kind.
    """
    if found != expected:
        raise damaged(path, f"its checksum should be {expected[:12]}…, but its content gives {found[:12]}…")
    if card["schema"] != SCHEMA_VERSION:
        raise damaged(path, f"it has schema {card['schema']}, this version reads {SCHEMA_VERSION}")
    if card["kind"] != kind:
        raise ObtransferError(f"{path} holds a {card['kind']!r} artefact where a {kind!r} was needed")


def stored_digest(path: Path | str) -> str:
    """The digest that an artefact's card claims; its content is not read.

    Raises:
        ObtransferError: missing, or without a readable card.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            first = stream.read(8)
            if first[:1] == b"#":
                card = json.loads((first + stream.readline()).decode().removeprefix("# "))
            else:
                header = json.loads(stream.read(struct.unpack("<Q", first)[0]))
                card = json.loads(header["__metadata__"][CARD])
        return str(card["digest"])
    except FileNotFoundError:
        raise missing(path, "artefact") from None
    except UNREADABLE as error:
        raise damaged(path, f"its card can't be read ({type(error).__name__}: {error})") from error
