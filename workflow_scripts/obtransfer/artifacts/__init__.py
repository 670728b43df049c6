"""Artefacts: files that are either whole and unaltered, or absent.

A step writes every file to a hidden neighbour first, flushes it to the disk and renames it, so a reader never sees half of
it. Every file carries a card: schema, kind, metadata and a SHA-256 of these and the content, which reading verifies. An
artefact is a pure function of its inputs, settings and code (times and hosts are in the logs), so equal runs give equal
bytes.
"""

from obtransfer.artifacts.cards import stored_digest
from obtransfer.artifacts.files import atomic_path
from obtransfer.artifacts.tables import Table, read_table, write_table
from obtransfer.artifacts.tensors import (
    Arrays,
    Artifact,
    check_finite,
    map_tensors,
    read_tensors,
    write_tensors,
)

__all__ = [
    "Arrays", "Artifact", "Table", "atomic_path", "check_finite", "map_tensors", "read_table", "read_tensors",
    "stored_digest", "write_table", "write_tensors",
]  # fmt: skip
